//! The carrier's packets: whose they are, in order, and what they say.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Event, Media, Sink};
use crate::audio::level;
use crate::endpoints::websocket::Stream;
use crate::rtp::reorder::{Pushed, Ready};
use crate::rtp::srtp::SrtpError;
use crate::rtp::stats::Arrival;
use crate::rtp::{self, Header, Packet};

/// Comfort noise (RFC 3389, RFC 3551 §6): the carrier says that there is nothing to hear.
const COMFORT_NOISE: u8 = 13;
/// The longest payload that is passed on: no carrier packs more than 200 ms.
const MAX_PAYLOAD_BYTES: usize = 1600;

impl Media {
    /// A datagram from the socket of RTP (with rtcp-mux, of both). Decrypted in place.
    pub fn handle_rtp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut impl Sink,
    ) {
        if self.stopped {
            return;
        }
        if rtp::is_rtcp(datagram) {
            return self.handle_report(now, from, datagram, true, sink);
        }
        let len = match &mut self.receiver {
            Some(receiver) => match receiver.unprotect_rtp(datagram) {
                Ok(len) => len,
                Err(error) => return self.count_refused(from, error),
            },
            None if !self.rtp.admits(now, from, &self.sources) => {
                return self.count_stranger(from);
            }
            None => datagram.len(),
        };
        let Some(packet) = datagram.get(..len).and_then(|bytes| Packet::parse(bytes).ok()) else {
            self.tally.unusable += 1;
            return;
        };
        let arrival = self.received.record(now, &packet.header, packet.payload.len());
        let newer = matches!(arrival, Arrival::InOrder | Arrival::Restarted);
        self.handle_heard(now, from, newer && self.receiver.is_some(), sink);
        let (header, payload) = (packet.header, packet.payload);
        if payload.len() > MAX_PAYLOAD_BYTES {
            self.tally.unusable += 1;
            return;
        }
        if self.reorder.push(now, &header, payload) == Pushed::InOrder {
            self.hear(now, &header, payload, sink);
        }
        self.drain_reorder(now, sink);
    }

    pub(super) fn count_stranger(&mut self, from: SocketAddr) {
        self.tally.strangers += 1;
        self.refused_from = Some(from);
    }

    pub(super) fn count_refused(&mut self, from: SocketAddr, error: SrtpError) {
        match error {
            SrtpError::BadTag if from != self.rtp.target() && from != self.rtcp.target() => {
                self.count_stranger(from);
            }
            SrtpError::BadTag => {
                self.tally.bad_tags += 1;
                self.refused_from = Some(from);
            }
            SrtpError::Replayed | SrtpError::TooOld => self.tally.replayed += 1,
            _ => self.tally.unusable += 1,
        }
    }

    /// A packet of the call came on the address of RTP.
    pub(super) fn handle_heard(
        &mut self,
        now: Instant,
        from: SocketAddr,
        newer: bool,
        sink: &mut impl Sink,
    ) {
        self.heard_at = now;
        self.inactive = false;
        if self.rtp.handle_packet(now, from, newer) {
            self.tally.latched = Some(from);
            sink.event(Event::Latched(from));
        }
        if self.hear_first.is_some() && self.rtp.latched().is_some() {
            self.stop_waiting(now, sink);
        }
    }

    /// What waited for a missing packet, once it came or was given up.
    pub(super) fn drain_reorder(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.reorder.poll_timeout().is_none() {
            return;
        }
        let mut kept = [0; rtp::reorder::MAX_HELD_PAYLOAD_BYTES];
        loop {
            let (header, len) = match self.reorder.pop_ready(now) {
                // The hole shows in the timestamps of what follows.
                Some(Ready::Lost { count }) => {
                    self.bursts.lost(count);
                    continue;
                }
                Some(Ready::Packet { header, payload }) => {
                    let len = payload.len().min(kept.len());
                    kept[..len].copy_from_slice(&payload[..len]);
                    (header, len)
                }
                None => return,
            };
            self.hear(now, &header, &kept[..len], sink);
        }
    }

    /// One packet in its turn.
    fn hear(&mut self, now: Instant, header: &Header, payload: &[u8], sink: &mut impl Sink) {
        self.bursts.received();
        if self.source != Some(header.ssrc) {
            self.source = Some(header.ssrc);
            if let Some(feed) = &mut self.feed {
                feed.resync();
            }
            self.digits_in.resync();
        }
        if Some(header.payload_type) == self.telephone_event {
            self.watch.handle_sound(now);
            self.hear_event(now, header, payload, sink);
        } else if header.payload_type == self.payload_type {
            self.watch.handle_sound(now);
            self.hear_audio(now, header.timestamp, payload, sink);
        } else if header.payload_type == COMFORT_NOISE {
            self.hear_noise(payload);
        } else {
            self.tally.unusable += 1;
        }
    }

    /// The carrier sends nothing for a while but how loud its noise is (RFC 3389 §3).
    fn hear_noise(&mut self, payload: &[u8]) {
        let Some(level) = payload.first().map(|byte| byte & 0x7f) else { return };
        self.watch.handle_pause();
        if let Some(feed) = &mut self.feed {
            feed.handle_comfort_noise(level);
        }
        if let Some(level) = self.room.told(level) {
            self.set_room(level);
        }
    }

    fn hear_audio(&mut self, now: Instant, timestamp: u32, payload: &[u8], sink: &mut impl Sink) {
        let Some(answered) = self.answered else { return };
        if !self.direction.receives() || payload.is_empty() {
            return;
        }
        if !self.heard_caller {
            self.heard_caller = true;
            self.tally.first_caller_audio_ms =
                Some(now.saturating_duration_since(answered).as_millis() as u64);
            sink.event(Event::FirstAudioFromCaller);
        }
        self.hear_tones(now, timestamp, payload, sink);
        self.hear_room(now, payload);
        if let Some(feed) = &mut self.feed
            && !feed.push(now, timestamp, payload, give(&mut self.stream, sink))
        {
            self.tally.unusable += 1;
        }
    }

    /// How loud the caller is, and how loud it is behind his voice: what he hears of us while the
    /// agent is silent is as loud.
    fn hear_room(&mut self, now: Instant, payload: &[u8]) {
        let Some(law) = self.codec.law() else { return };
        let power = level::power(law, payload);
        // A sample of G.711 has a byte, and a millisecond eight of them.
        self.turns.handle_caller(now, power, Duration::from_micros(payload.len() as u64 * 125));
        if let Some(level) = self.room.record(power, payload.len()) {
            self.set_room(level);
        }
    }

    fn set_room(&mut self, level: u8) {
        self.voice.set_noise_level(level);
        self.turns.set_room(level);
    }

    /// Silence for the agent when the carrier sends none.
    pub(super) fn stand_in(&mut self, now: Instant, sink: &mut impl Sink) {
        if let Some(feed) = &mut self.feed {
            feed.handle_timeout(now, give(&mut self.stream, sink));
        }
    }
}

/// Hands whole frames to the agent.
fn give(stream: &mut Stream, sink: &mut impl Sink) -> impl FnMut(Duration, &[u8]) {
    |at, frame| sink.send_agent(stream.media(at, frame))
}
