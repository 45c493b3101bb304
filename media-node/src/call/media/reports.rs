//! RTCP: what both ends tell each other about the stream (RFC 3550 §6).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Media, Report, Sink};
use crate::rtp::Ssrc;
use crate::rtp::quality::emodel::{Impairment, Path};
use crate::rtp::rtcp::{self, Compound, NtpTime, ReportBlocks, Rtcp, SenderInfo};
use crate::rtp::srtp::MAX_RTCP_OVERHEAD_BYTES;

/// RFC 3550 §6.2: five seconds, give or take half, and the first after half the time.
const INTERVAL: Duration = Duration::from_secs(5);
const BUFFER_BYTES: usize = rtcp::MAX_COMPOUND_LEN_BYTES + MAX_RTCP_OVERHEAD_BYTES;

/// When reports leave.
pub(super) struct ReportClock {
    /// The zero of our NTP time stamps; the peer only ever compares them with each other.
    epoch: Instant,
    next: Option<Instant>,
    random: u64,
    /// Packets sent at the time of the last two reports: who sent none since the one before last
    /// is no sender (RFC 3550 §6.4).
    sent_before: [u64; 2],
}

impl ReportClock {
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        Self { epoch: now, next: None, random: seed, sent_before: [0; 2] }
    }

    pub(super) fn start(&mut self, now: Instant) {
        self.next = Some(now + self.interval() / 2);
    }

    fn interval(&mut self) -> Duration {
        // Knuth's LCG: good enough to keep reports of many calls apart.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let spread_us = INTERVAL.as_micros() as u64;
        INTERVAL / 2 + Duration::from_micros((self.random >> 33) % spread_us)
    }

    fn ntp(&self, now: Instant) -> NtpTime {
        NtpTime::from_elapsed(now.saturating_duration_since(self.epoch))
    }
}

impl Media {
    /// A datagram from the socket of RTCP. Decrypted in place.
    pub fn handle_rtcp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut impl Sink,
    ) {
        if !self.stopped {
            self.handle_report(now, from, datagram, false, sink);
        }
    }

    /// `muxed`: it came by the road of RTP.
    pub(super) fn handle_report(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        muxed: bool,
        sink: &mut impl Sink,
    ) {
        if self.receiver.is_none() && !self.admits_report(now, from, muxed) {
            return self.count_stranger(from);
        }
        let len = match &mut self.receiver {
            Some(receiver) => match receiver.unprotect_rtcp(datagram) {
                Ok(len) => len,
                Err(error) => return self.count_refused(from, error),
            },
            None => datagram.len(),
        };
        let Some(compound) = datagram.get(..len).and_then(|bytes| Compound::parse(bytes).ok())
        else {
            self.tally.unusable += 1;
            return;
        };
        if muxed {
            self.handle_heard(now, from, false, sink);
        } else {
            self.heard_at = now;
            self.inactive = false;
            self.rtcp.handle_packet(now, from, self.receiver.is_some());
            self.hear_reports_first =
                self.hear_reports_first.filter(|_| self.rtcp.latched().is_none());
        }
        let (mut reported, mut knows_us) = (false, false);
        for packet in compound {
            match packet {
                Rtcp::SenderReport { ssrc, info, reports } => {
                    self.received.handle_sender_report(now, ssrc, &info);
                    knows_us |= self.read_blocks(now, reports);
                    reported = true;
                }
                Rtcp::ReceiverReport { reports, .. } => {
                    knows_us |= self.read_blocks(now, reports);
                    reported = true;
                }
                Rtcp::ExtendedReport { mut blocks, .. } => {
                    let ours = blocks.find(|metrics| metrics.ssrc == self.ssrc);
                    self.metrics = ours.or(self.metrics);
                }
                Rtcp::SourceDescription { .. } | Rtcp::Goodbye { .. } | Rtcp::Other { .. } => {}
            }
        }
        if reported {
            self.hear_of_us(knows_us, sink);
        }
    }

    fn admits_report(&self, now: Instant, from: SocketAddr, muxed: bool) -> bool {
        if muxed {
            return self.rtp.admits(now, from, &self.sources);
        }
        let beside_rtp = || {
            let ip = |at: SocketAddr| at.ip().to_canonical();
            self.rtcp.latched().is_none()
                && self.rtp.latched().is_some_and(|rtp| ip(rtp) == ip(from))
        };
        self.rtcp.admits(now, from, &self.sources) || beside_rtp()
    }

    /// Whether any of the blocks is about our audio.
    fn read_blocks(&mut self, now: Instant, blocks: ReportBlocks<'_>) -> bool {
        let (ntp, mut knows_us) = (self.reports.ntp(now), false);
        for block in blocks.filter(|block| block.ssrc == self.ssrc) {
            self.sent.handle_report(ntp, &block);
            knows_us = true;
        }
        knows_us
    }

    pub(super) fn report_at(&self) -> Option<Instant> {
        self.reports.next
    }

    pub(super) fn report_when_due(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.reports.next.is_none_or(|next| now < next) {
            return;
        }
        let interval = self.reports.interval();
        self.reports.next = Some(now + interval);
        self.send_report(now, sink, rtcp::write_report);
    }

    pub(super) fn send_bye(&mut self, now: Instant, sink: &mut impl Sink) {
        self.reports.next = None;
        self.send_report(now, sink, |out, ssrc, sender, blocks, cname| {
            rtcp::write_bye(out, ssrc, sender, blocks, cname, "")
        });
    }

    fn send_report(
        &mut self,
        now: Instant,
        sink: &mut impl Sink,
        write: impl FnOnce(&mut [u8], Ssrc, Option<&SenderInfo>, &[rtcp::ReportBlock], &str) -> usize,
    ) {
        if !self.may_send() || self.hear_reports_first.is_some_and(|until| now < until) {
            return;
        }
        let sends = self.sent.packets() > self.reports.sent_before[0];
        self.reports.sent_before = [self.reports.sent_before[1], self.sent.packets()];
        let sender =
            sends.then(|| self.sent.sender_info(self.reports.ntp(now), self.timestamp_at(now)));
        let block = self.received.report_block(now);
        let mut buffer = [0; BUFFER_BYTES];
        let mut len = write(
            &mut buffer[..rtcp::MAX_COMPOUND_LEN_BYTES],
            self.ssrc,
            sender.as_ref(),
            block.as_slice(),
            &self.cname,
        );
        if len == 0 {
            return;
        }
        if let Some(srtp) = &mut self.sender {
            let Ok(protected) = srtp.protect_rtcp(&mut buffer, len) else { return };
            len = protected;
        }
        if self.rtcp_mux {
            sink.send_rtp(self.rtp.target(), &buffer[..len]);
        } else {
            sink.send_rtcp(self.rtcp.target(), &buffer[..len]);
        }
    }

    /// How good one direction sounds, in which a receiver's buffers add so much to the way and to the
    /// frame that fills a packet. `None` for wideband, which this scale does not judge.
    fn mos(
        &self,
        impairment: Impairment,
        (loss_rate, burst_ratio): (f64, f64),
        buffers: Duration,
    ) -> Option<f64> {
        self.codec.law()?;
        let one_way = self.sent.round_trip().unwrap_or_default() / 2;
        let delay = one_way + self.frame + buffers;
        Some(Path { impairment, loss_rate, burst_ratio, delay }.mos())
    }

    /// What the carrier says of our audio: its own score, or one from the losses that it reports. A
    /// jitter buffer that it says nothing of is taken to be twice the jitter, and gaps as concealed.
    fn remote_mos(&self) -> Option<f64> {
        if let Some(metrics) = &self.metrics {
            let scored = metrics.mos_conversation.or(metrics.mos_listening);
            let loss_rate = metrics.loss_rate + metrics.discard_rate;
            let buffers = metrics.end_system_delay;
            return scored
                .or_else(|| self.mos(Impairment::G711_CONCEALED, (loss_rate, 1.0), buffers));
        }
        let remote = self.sent.remote()?;
        let lost = f64::from(remote.cumulative_lost.max(0));
        let loss_rate = lost / self.sent.packets().max(1) as f64;
        let jitter_s = f64::from(remote.jitter) / f64::from(self.codec.clock_rate_hz());
        let buffers = Duration::from_secs_f64(jitter_s * 2.0);
        self.mos(Impairment::G711_CONCEALED, (loss_rate, 1.0), buffers)
    }

    /// The figures so far.
    pub fn report(&self) -> Report {
        let mut report = self.tally;
        // Audio is counted in samples while the call lives.
        for samples in [
            &mut report.agent_audio_ms,
            &mut report.played_ms,
            &mut report.cleared_ms,
            &mut report.dropped_ms,
            &mut report.left_out_ms,
        ] {
            *samples /= 8;
        }
        if let Some(feed) = &self.feed {
            report.filled_ms += feed.filled().as_millis() as u64;
            report.gaps += feed.gaps();
        }
        report.packets_in = self.received.packets();
        report.bytes_in = self.received.bytes();
        report.packets_out = self.sent.packets();
        report.bytes_out = self.sent.bytes();
        report.lost = self.received.lost();
        report.late = self.reorder.late();
        report.reordered = self.received.reordered();
        report.duplicates = self.received.duplicates();
        let jitter = self.received.jitter();
        report.jitter_ms = ms(jitter);
        let round_trip = self.sent.round_trip();
        report.round_trip_ms = round_trip.map(ms);
        if let Some(remote) = self.sent.remote() {
            report.remote_lost = Some(i64::from(remote.cumulative_lost));
            let ticks_per_ms = f64::from(self.codec.clock_rate_hz()) / 1000.0;
            report.remote_jitter_ms = Some(f64::from(remote.jitter) / ticks_per_ms);
        }
        let bursts = self.bursts.figures();
        report.loss_bursts = bursts.bursts;
        report.burst_loss_rate = bursts.burst_loss_rate;
        report.burst_packets = bursts.burst_packets;
        report.gap_loss_rate = bursts.gap_loss_rate;
        report.gap_packets = bursts.gap_packets;
        if self.received.expected() > 0 {
            // Nothing waits in a buffer here.
            let loss = (bursts.loss_rate, bursts.burst_ratio);
            report.mos = self.mos(Impairment::G711_CONCEALED, loss, Duration::ZERO);
        }
        report.remote_mos = self.remote_mos();
        let turns = self.turns.figures();
        let whole_ms = |span: Duration| span.as_millis() as u64;
        report.responses = turns.responses;
        report.interruptions = turns.interruptions;
        if turns.responses > 0 {
            report.mean_response_ms = whole_ms(turns.responded_after).checked_div(turns.responses);
            report.longest_response_ms = Some(whole_ms(turns.slowest_response));
        }
        if turns.interruptions > 0 {
            report.longest_reaction_ms = turns.slowest_reaction.map(whole_ms);
            report.longest_interruption_ms = Some(whole_ms(turns.slowest_effect));
        }
        let counters = self.stream.counters();
        report.agent_messages_malformed = counters.malformed;
        report.agent_messages_unknown = counters.unknown;
        report.agent_messages_foreign = counters.foreign;
        report
    }
}

fn ms(duration: Duration) -> f64 {
    // Microseconds are as exact as any of these figures can be.
    duration.as_micros() as f64 / 1000.0
}
