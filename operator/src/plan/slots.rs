//! Slots: a pod's number, which gives its name and its block of media ports.

use std::collections::BTreeSet;

use trunkline_crds::media_pool::MediaPorts;

use super::objects::PodPlace;
use super::seen::Seen;

/// Slots whose name and whose block of ports nobody has, lowest first.
pub(super) struct FreeSlots<'a> {
    media: &'a MediaPorts,
    taken: BTreeSet<u16>,
    blocks: Vec<(u16, u16)>,
    next: u16,
}

impl<'a> FreeSlots<'a> {
    /// Pods that leave keep their slot until they are gone.
    pub(super) fn new(media: &'a MediaPorts, pods: &[Seen<'_>]) -> Self {
        Self {
            media,
            taken: pods.iter().filter_map(|it| it.slot).collect(),
            blocks: pods.iter().filter_map(Seen::media_ports).collect(),
            next: 0,
        }
    }
}

impl Iterator for FreeSlots<'_> {
    type Item = PodPlace;

    fn next(&mut self) -> Option<PodPlace> {
        loop {
            let slot = self.next;
            let ports = block(self.media, slot)?;
            self.next = slot.checked_add(1)?;
            let overlaps = |taken: &(u16, u16)| overlap(*taken, ports);
            if !self.taken.contains(&slot) && !self.blocks.iter().any(overlaps) {
                return Some(PodPlace { slot, ports });
            }
        }
    }
}

/// Who keeps each slot from a new pod, by its name or its ports; free slots are left out.
pub(super) fn holders<'a>(
    media: &MediaPorts,
    pods: &'a [Seen<'a>],
) -> impl Iterator<Item = Vec<&'a Seen<'a>>> {
    let blocks = (0..=u16::MAX).map_while(|slot| Some((slot, block(media, slot)?)));
    let holders = blocks.map(|(slot, ports)| {
        let holds = |it: &&Seen<'_>| {
            it.slot == Some(slot) || it.media_ports().is_some_and(|taken| overlap(taken, ports))
        };
        pods.iter().filter(holds).collect::<Vec<_>>()
    });
    holders.filter(|it| !it.is_empty())
}

/// After a change of the range an old pod's block may lie across new ones.
fn overlap(one: (u16, u16), other: (u16, u16)) -> bool {
    one.0 <= other.1 && other.0 <= one.1
}

/// The ports of one slot, both ends included: `start + slot · portsPerPod` and on. Slot 0 of a range
/// smaller than `portsPerPod` has the whole range; `None` when the slot lies past the end.
fn block(media: &MediaPorts, slot: u16) -> Option<(u16, u16)> {
    let per_pod = media.ports_per_pod.max(1);
    let (start, end) = (media.port_range.start, media.port_range.end);
    let first = start.checked_add(i32::from(slot).checked_mul(per_pod)?)?;
    let last = first.checked_add(per_pod - 1)?;
    if first > end || (last > end && slot > 0) {
        return None;
    }
    Some((u16::try_from(first).ok()?, u16::try_from(last.min(end)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_crds::media_pool::PortRange;

    #[test]
    fn blocks_are_those_of_the_media_node() {
        let media = |start, end, ports_per_pod| MediaPorts {
            port_range: PortRange { start, end },
            ports_per_pod,
        };
        let table = [
            (media(20000, 29999, 1000), 0, Some((20000, 20999))),
            (media(20000, 29999, 1000), 9, Some((29000, 29999))),
            (media(20000, 29999, 1000), 10, None),
            (media(20000, 20009, 1000), 0, Some((20000, 20009))),
            (media(20000, 21499, 1000), 1, None),
            (media(20000, 20000, 1), 0, Some((20000, 20000))),
            (media(65535, 65535, 1), 1, None),
            (media(1024, 65535, 65535), u16::MAX, None),
        ];
        for (media, slot, ports) in table {
            assert_eq!(block(&media, slot), ports, "{media:?} {slot}");
        }
    }
}
