//! Opus (RFC 6716) through libopus, mono, at whatever rate the other side has: the codec itself
//! samples down and up.
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use super::format::Rate;

/// The longest that one packet can be (RFC 6716 §3.2.5).
const MAX_PACKET_MS: usize = 120;
/// Enough for speech of 8 to 24 kHz; more is not heard by who hears speech.
const BITRATE: i32 = 24_000;
/// Of 10: what more costs is not heard at this bit rate, and it costs twice as much.
const COMPLEXITY: i32 = 5;

pub struct Encoder(Option<opus::Encoder>);

impl Encoder {
    pub fn new(rate: Rate) -> Self {
        let encoder = opus::Encoder::new(rate.hz(), opus::Channels::Mono, opus::Application::Voip);
        Self(encoder.and_then(configured).ok())
    }

    /// Encodes one packet of 10, 20, 40 or 60 ms, and returns its length in bytes: none when there
    /// is no such packet or no room.
    pub fn encode(&mut self, samples: &[i16], coded: &mut [u8]) -> usize {
        self.0.as_mut().and_then(|encoder| encoder.encode(samples, coded).ok()).unwrap_or(0)
    }
}

fn configured(mut encoder: opus::Encoder) -> opus::Result<opus::Encoder> {
    encoder.set_bitrate(opus::Bitrate::Bits(BITRATE))?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_signal(opus::Signal::Voice)?;
    Ok(encoder)
}

pub struct Decoder {
    decoder: Option<opus::Decoder>,
    rate: Rate,
    samples: Box<[i16]>,
}

impl Decoder {
    pub fn new(rate: Rate) -> Self {
        let decoder = opus::Decoder::new(rate.hz(), opus::Channels::Mono).ok();
        let samples = vec![0; MAX_PACKET_MS * rate.samples_per_ms()].into_boxed_slice();
        Self { decoder, rate, samples }
    }

    /// The samples of one packet; none when it cannot be decoded.
    pub fn decode(&mut self, packet: &[u8]) -> &[i16] {
        self.run(packet, false, MAX_PACKET_MS)
    }

    /// What a packet tells of the one before it, which did not come and was `missing_ms` long (in-band
    /// forward error correction, RFC 6716 §2.1.7); where it tells nothing, the codec makes up for it.
    pub fn decode_previous(&mut self, packet: &[u8], missing_ms: usize) -> &[i16] {
        self.run(packet, true, missing_ms.min(MAX_PACKET_MS))
    }

    fn run(&mut self, packet: &[u8], previous: bool, room_ms: usize) -> &[i16] {
        // Without a packet libopus would make one up.
        let (Some(decoder), false) = (&mut self.decoder, packet.is_empty()) else { return &[] };
        let room = self.samples.get_mut(..room_ms * self.rate.samples_per_ms()).unwrap_or_default();
        let len = decoder.decode(packet, room, previous).unwrap_or(0);
        self.samples.get(..len).unwrap_or_default()
    }
}

/// How long a packet is, in milliseconds; `None` when it is none, or ends within a millisecond.
pub fn duration_ms(packet: &[u8]) -> Option<usize> {
    let samples = opus::packet::get_nb_samples(packet, 8000).ok()?;
    samples.is_multiple_of(8).then_some(samples / 8)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use super::*;
    use crate::audio::tone::{level_at_db, level_db, sine};

    fn coded(rate: Rate, hz: f64, frames: usize) -> Vec<Vec<u8>> {
        let len = rate.samples_per_ms() * 20;
        let said = sine(rate.hz(), hz, 8000.0, len * frames);
        let mut encoder = Encoder::new(rate);
        let encode = |frame: &[i16]| {
            let mut packet = vec![0; 480];
            let len = encoder.encode(frame, &mut packet);
            packet.truncate(len);
            packet
        };
        said.chunks(len).map(encode).collect()
    }

    #[test]
    fn a_tone_survives_from_any_rate_to_any_rate() {
        for from in Rate::ALL {
            let packets = coded(from, 700.0, 50);
            assert!(packets.iter().all(|packet| (1..=200).contains(&packet.len())));
            for to in Rate::ALL {
                let mut decoder = Decoder::new(to);
                let heard: Vec<i16> =
                    packets.iter().flat_map(|packet| decoder.decode(packet).to_vec()).collect();
                assert_eq!(heard.len(), to.samples_per_ms() * 1000);
                let heard = &heard[heard.len() / 4..];
                let level = level_at_db(heard, to.hz(), 700.0);
                assert!((level - 75.05).abs() < 1.0, "{from:?} {to:?}: {level:.1}");
                assert!(level_db(heard) - level < 0.5, "little but the tone");
            }
        }
    }

    #[test]
    fn a_missing_packet_is_made_up_for_as_long_as_it_was() {
        let packets = coded(Rate::Hz8000, 400.0, 20);
        let mut decoder = Decoder::new(Rate::Hz8000);
        for packet in &packets[..10] {
            decoder.decode(packet);
        }
        assert_eq!(decoder.decode_previous(&packets[11], 20).len(), 160);
        assert_eq!(decoder.decode(&packets[11]).len(), 160);
        assert_eq!(duration_ms(&packets[11]), Some(20));
    }

    #[test]
    fn what_is_no_packet_gives_nothing() {
        let mut decoder = Decoder::new(Rate::Hz48000);
        assert!(decoder.decode(&[]).is_empty());
        // Code 3 with 63 frames of 20 ms (RFC 6716 §3.2.5).
        assert!(decoder.decode(&[0x03, 63, 0]).is_empty());
        assert_eq!((duration_ms(&[]), duration_ms(&[0x03])), (None, None));
        let mut encoder = Encoder::new(Rate::Hz8000);
        assert_eq!(encoder.encode(&[0; 7], &mut [0; 100]), 0);
    }
}
