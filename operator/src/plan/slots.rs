//! Slots: a pod's number, which gives its name and its block of media ports.

use trunkline_crds::media_pool::MediaPorts;

use super::objects::PodPlace;
use super::seen::Seen;

/// All slots, lowest first, each with the pods that keep it from a new one by their name or their
/// ports. Pods that leave keep theirs until they are gone.
pub(super) fn slots<'a>(
    media: &MediaPorts,
    pods: &'a [Seen<'a>],
) -> impl Iterator<Item = (PodPlace, Vec<&'a Seen<'a>>)> {
    let pods: Vec<_> = pods.iter().map(|it| (it, it.media_ports())).collect();
    (0..=u16::MAX).map_while(move |slot| {
        let ports = block(media, slot)?;
        let holds = |(pod, taken): &&(&Seen<'_>, Option<(u16, u16)>)| {
            pod.slot == Some(slot) || taken.is_some_and(|taken| overlap(taken, ports))
        };
        let holders = pods.iter().filter(holds).map(|(pod, _)| *pod).collect();
        Some((PodPlace { slot, ports }, holders))
    })
}

/// The slots that nobody has.
pub(super) fn free_slots(media: &MediaPorts, pods: &[Seen<'_>]) -> impl Iterator<Item = PodPlace> {
    slots(media, pods).filter_map(|(place, holders)| holders.is_empty().then_some(place))
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
