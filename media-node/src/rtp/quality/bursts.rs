//! Losses that come together, told from those that come alone (RFC 3611 §4.7.2).
//!
//! A burst begins and ends with a loss, and in it fewer than sixteen packets in a row arrive. What is
//! between bursts is a gap, with losses that have sixteen good packets on either side of each. A
//! packet that came too late to be used is as good as lost.

/// Gmin: so many packets in a row end a burst.
pub const MIN_GAP: u64 = 16;

/// Counts packets in their order, as they were used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bursts {
    received: u64,
    lost: u64,
    /// Losses in a row count once.
    runs: u64,
    /// Packets since the last loss.
    since_loss: u64,
    /// A burst, or a loss alone, that is not over: its packets and its losses.
    open: Stretch,
    bursts: u64,
    in_bursts: Stretch,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    packets: u64,
    losses: u64,
}

/// What bursts and gaps of a stream are like. Rates are 0 to 1, lengths are means, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BurstFigures {
    pub bursts: u64,
    /// Of the packets in bursts, how many were lost.
    pub burst_loss_rate: f64,
    pub burst_packets: f64,
    pub gap_loss_rate: f64,
    pub gap_packets: f64,
    /// Of all packets.
    pub loss_rate: f64,
    /// BurstR of ITU-T G.107: how much longer losses in a row are than if each were alone in the hands
    /// of chance; 1 when they are not.
    pub burst_ratio: f64,
}

impl Bursts {
    pub fn received(&mut self) {
        self.received += 1;
        self.since_loss += 1;
    }

    /// So many packets in a row did not come, or came too late.
    pub fn lost(&mut self, count: u16) {
        if count == 0 {
            return;
        }
        let count = u64::from(count);
        if self.since_loss > 0 || self.lost == 0 {
            self.runs += 1;
        }
        if self.open.losses > 0 && self.since_loss < MIN_GAP {
            self.open.packets += self.since_loss + count;
            self.open.losses += count;
        } else {
            self.close();
            self.open = Stretch { packets: count, losses: count };
        }
        self.lost += count;
        self.since_loss = 0;
    }

    /// A loss alone belongs to the gap around it.
    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        if open.losses > 1 {
            self.bursts += 1;
            self.in_bursts.packets += open.packets;
            self.in_bursts.losses += open.losses;
        }
    }

    /// As if the stream ended here.
    pub fn figures(&self) -> BurstFigures {
        let mut ended = *self;
        ended.close();
        let Self { received, lost, runs, bursts, in_bursts, .. } = ended;
        let packets = received + lost;
        let in_gaps = packets - in_bursts.packets;
        let loss_rate = ratio(lost, packets);
        // Losses in a row are 1 / (1 - p) long where each packet is lost by chance.
        let by_chance = 1.0 / (1.0 - loss_rate).max(f64::EPSILON);
        BurstFigures {
            bursts,
            burst_loss_rate: ratio(in_bursts.losses, in_bursts.packets),
            burst_packets: ratio(in_bursts.packets, bursts),
            gap_loss_rate: ratio(lost - in_bursts.losses, in_gaps),
            gap_packets: ratio(in_gaps, bursts + 1),
            loss_rate,
            burst_ratio: (ratio(lost, runs) / by_chance).max(1.0),
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `.` came, `x` did not.
    fn figures(stream: &str) -> BurstFigures {
        let mut bursts = Bursts::default();
        for packet in stream.chars() {
            match packet {
                '.' => bursts.received(),
                _ => bursts.lost(1),
            }
        }
        bursts.figures()
    }

    #[test]
    fn losses_with_sixteen_good_packets_around_them_are_no_burst() {
        let good = ".".repeat(16);
        let found = figures(&format!("{good}x{good}x{good}"));
        assert_eq!((found.bursts, found.burst_loss_rate, found.burst_ratio), (0, 0.0, 1.0));
        assert!((found.gap_loss_rate - 2.0 / 50.0).abs() < 1e-9);
        assert!((found.gap_packets - 50.0).abs() < 1e-9);
    }

    #[test]
    fn losses_nearer_than_that_are_one_with_what_lies_between() {
        let good = ".".repeat(100);
        let found = figures(&format!("{good}xx..x{}x{good}", ".".repeat(15)));
        assert_eq!((found.bursts, found.burst_packets), (1, 21.0));
        assert!((found.burst_loss_rate - 4.0 / 21.0).abs() < 1e-9);
        assert_eq!((found.gap_loss_rate, found.gap_packets), (0.0, 100.0));
        assert!((found.loss_rate - 4.0 / 221.0).abs() < 1e-9);
        // Three runs of four losses.
        assert!((found.burst_ratio - 4.0 / 3.0 * 217.0 / 221.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_and_nothing_but_losses() {
        assert_eq!(figures(""), BurstFigures { burst_ratio: 1.0, ..BurstFigures::default() });
        let found = figures("xxxx");
        assert_eq!((found.bursts, found.burst_packets, found.loss_rate), (1, 4.0, 1.0));
        assert_eq!((found.burst_loss_rate, found.burst_ratio), (1.0, 1.0));
    }

    proptest! {
        /// A stretch counted at once is as good as one counted packet by packet, and nothing is
        /// counted twice or left out.
        #[test]
        fn runs_add_up(runs in prop::collection::vec((0u64..40, 0u16..9), 0..60)) {
            let (mut one, mut many) = (Bursts::default(), Bursts::default());
            for (received, lost) in &runs {
                for _ in 0..*received {
                    one.received();
                    many.received();
                }
                one.lost(*lost);
                (0..*lost).for_each(|_| many.lost(1));
            }
            let found = one.figures();
            prop_assert_eq!(found, many.figures());
            let lost: u64 = runs.iter().map(|(_, lost)| u64::from(*lost)).sum();
            let packets = lost + runs.iter().map(|(received, _)| received).sum::<u64>();
            let bursts = found.bursts as f64;
            let in_bursts = found.burst_packets * bursts;
            let in_gaps = found.gap_packets * (bursts + 1.0);
            prop_assert!((in_bursts + in_gaps - packets as f64).abs() < 1e-6);
            let losses = in_bursts * found.burst_loss_rate + in_gaps * found.gap_loss_rate;
            prop_assert!((losses - lost as f64).abs() < 1e-6);
            prop_assert!(found.burst_ratio >= 1.0);
        }
    }
}
