//! Extended reports (RFC 3611): what the carrier's end says of how our audio sounds there.
//!
//! Only the VoIP metrics block is read; others are passed over by their length. A block that runs
//! beyond its packet ends the list, and costs nothing of the compound around it.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use crate::rtp::Ssrc;

/// The block type of VoIP metrics, and its length behind the block's header (§4.7).
const VOIP_METRICS: u8 = 7;
const VOIP_METRICS_BYTES: usize = 32;
/// "Unavailable" for signed and unsigned single bytes alike.
const UNAVAILABLE: u8 = 127;

/// VoIP metrics (§4.7). Rates and densities are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VoipMetrics {
    /// Whose packets this is about.
    pub ssrc: Ssrc,
    /// Never came, since reception began.
    pub loss_rate: f64,
    /// Came, and was thrown away: too late or too early for the jitter buffer.
    pub discard_rate: f64,
    /// Lost or discarded within bursts, and outside of them.
    pub burst_density: f64,
    pub gap_density: f64,
    pub burst_duration: Duration,
    pub gap_duration: Duration,
    pub round_trip: Duration,
    /// What the peer's own buffers and codecs add.
    pub end_system_delay: Duration,
    /// Of voice and of silence, in dBm0.
    pub signal_dbm: Option<i8>,
    pub noise_dbm: Option<i8>,
    /// 0 to 100.
    pub r_factor: Option<u8>,
    /// Of listening, and of a conversation with its delay: 1 to 5.
    pub mos_listening: Option<f64>,
    pub mos_conversation: Option<f64>,
    /// The delay of the peer's jitter buffer as it stands.
    pub jitter_buffer: Duration,
}

/// The report blocks of an XR packet, those that are known: an iterator of [`VoipMetrics`].
#[derive(Clone, Copy, Debug)]
pub struct XrBlocks<'a> {
    /// Behind the SSRC of the sender.
    pub(in crate::rtp) rest: &'a [u8],
}

impl Iterator for XrBlocks<'_> {
    type Item = VoipMetrics;

    fn next(&mut self) -> Option<VoipMetrics> {
        loop {
            let ([kind, _, l0, l1], rest) = self.rest.split_first_chunk::<4>()?;
            let len = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
            let Some((block, rest)) = rest.split_at_checked(len) else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            if *kind == VOIP_METRICS
                && let Some((block, [])) = block.split_first_chunk::<VOIP_METRICS_BYTES>()
            {
                return Some(VoipMetrics::read(block));
            }
        }
    }
}

impl VoipMetrics {
    fn read(block: &[u8; VOIP_METRICS_BYTES]) -> Self {
        let (words, _) = block.as_chunks::<4>();
        let [ssrc, rates, durations, delays, levels, scores, buffer, _] =
            words.as_array().copied().unwrap_or_default();
        let [loss, discard, burst, gap] = rates.map(|rate| f64::from(rate) / 256.0);
        let ms = |bytes: [u8; 2]| Duration::from_millis(u16::from_be_bytes(bytes).into());
        let pair = |[a, b, c, d]: [u8; 4]| (ms([a, b]), ms([c, d]));
        let (burst_duration, gap_duration) = pair(durations);
        let (round_trip, end_system_delay) = pair(delays);
        let [signal, noise, _, _] = levels;
        let level = |byte: u8| (byte != UNAVAILABLE).then_some(byte.cast_signed());
        let [r_factor, _, listening, conversation] = scores;
        let score = |byte: u8| (10..=50).contains(&byte).then(|| f64::from(byte) / 10.0);
        Self {
            ssrc: Ssrc(u32::from_be_bytes(ssrc)),
            loss_rate: loss,
            discard_rate: discard,
            burst_density: burst,
            gap_density: gap,
            burst_duration,
            gap_duration,
            round_trip,
            end_system_delay,
            signal_dbm: level(signal),
            noise_dbm: level(noise),
            r_factor: (r_factor <= 100).then_some(r_factor),
            mos_listening: score(listening),
            mos_conversation: score(conversation),
            jitter_buffer: pair(buffer).1,
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{Compound, Rtcp};

    const METRICS: [u8; 36] = [
        7, 0, 0, 8, // VoIP metrics, eight words
        0xde, 0xad, 0xbe, 0xef, // whose packets
        13, 26, 128, 3, // loss, discard, burst, gap
        0, 120, 0x27, 0x10, // 120 ms, 10 s
        0, 90, 0, 60, // round trip, end system
        0xec, 0xb9, 127, 16, // -20 dBm, -71 dBm, no RERL, Gmin
        82, 127, 41, 39, // R 82, none external, 4.1, 3.9
        0x80, 0, 0, 45, // RX config, nominal buffer
        0, 80, 0, 200, // its maximum, and the absolute one
    ];

    fn packet(blocks: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0x80, 207, 0, 0, 0, 0, 0, 9];
        blocks.iter().for_each(|block| bytes.extend_from_slice(block));
        bytes[3] = (bytes.len() / 4 - 1) as u8;
        bytes
    }

    fn read(bytes: &[u8]) -> Vec<VoipMetrics> {
        let Some(Rtcp::ExtendedReport { ssrc: Ssrc(9), blocks }) =
            Compound::parse(bytes).unwrap().next()
        else {
            panic!("an XR packet")
        };
        blocks.collect()
    }

    #[test]
    fn metrics_are_read_field_by_field() {
        let read = read(&packet(&[&METRICS]));
        let ms = Duration::from_millis;
        let expected = VoipMetrics {
            ssrc: Ssrc(0xdead_beef),
            loss_rate: 13.0 / 256.0,
            discard_rate: 26.0 / 256.0,
            burst_density: 0.5,
            gap_density: 3.0 / 256.0,
            burst_duration: ms(120),
            gap_duration: ms(10_000),
            round_trip: ms(90),
            end_system_delay: ms(60),
            signal_dbm: Some(-20),
            noise_dbm: Some(-71),
            r_factor: Some(82),
            mos_listening: Some(4.1),
            mos_conversation: Some(3.9),
            jitter_buffer: ms(45),
        };
        assert_eq!(read, [expected]);
    }

    #[test]
    fn other_blocks_are_passed_over_by_their_length() {
        let reference: &[u8] = &[4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];
        let unknown: &[u8] = &[200, 0, 0, 0];
        let short: &[u8] = &[7, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(read(&packet(&[reference, unknown, short, &METRICS, reference])).len(), 1);
        assert_eq!(read(&packet(&[&METRICS, &METRICS])).len(), 2);
    }

    #[test]
    fn what_is_unavailable_or_off_its_scale_is_none() {
        let mut block = METRICS;
        block[20..22].fill(127);
        block[24..28].copy_from_slice(&[127, 127, 9, 51]);
        let read = read(&packet(&[&block]))[0];
        assert_eq!((read.signal_dbm, read.noise_dbm, read.r_factor), (None, None, None));
        assert_eq!((read.mos_listening, read.mos_conversation), (None, None));
    }

    #[test]
    fn a_block_that_runs_over_the_end_ends_the_list_and_any_byte_is_survived() {
        let mut long = METRICS;
        long[3] = 9;
        assert_eq!(read(&packet(&[&METRICS, &long])).len(), 1);
        let good = packet(&[&METRICS]);
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bytes = good.clone();
                bytes[at] = value;
                for packet in Compound::parse(&bytes).into_iter().flatten() {
                    if let Rtcp::ExtendedReport { blocks, .. } = packet {
                        assert!(blocks.count() <= 1);
                    }
                }
            }
        }
    }
}
