//! What is left of a call's media for its record.

use std::net::SocketAddr;

use serde::Serialize;

/// Figures of one call's media so far. "In" is from the carrier, "out" to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub packets_in: u64,
    /// Payload only, without headers.
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    /// Packets that never came (RFC 3550 A.3).
    pub lost: u64,
    /// Packets that came after their turn had passed.
    pub late: u64,
    pub reordered: u64,
    pub duplicates: u64,
    /// Packets that were neither from the carrier's address nor authentic.
    pub strangers: u64,
    /// Packets whose SRTP or SRTCP tag was wrong.
    pub bad_tags: u64,
    pub replayed: u64,
    /// Datagrams that are neither RTP nor RTCP, or of a payload type that was not agreed on.
    pub unusable: u64,
    /// Interarrival jitter of the caller's audio (RFC 3550 A.8).
    pub jitter_ms: f64,
    /// Of our packets, as the carrier's reports tell.
    pub remote_lost: Option<i64>,
    pub remote_jitter_ms: Option<f64>,
    pub round_trip_ms: Option<f64>,
    /// Estimates of how good the caller sounded here and the agent there (E-model, ITU-T G.107), 1 to
    /// 4.5; of telephone speech only. The second is the carrier's own where it sends one
    /// (RFC 3611).
    pub mos: Option<f64>,
    pub remote_mos: Option<f64>,
    /// Losses of the caller's packets that came together (RFC 3611 §4.7.2, Gmin 16; late ones are
    /// losses too): how many such bursts, how much was lost in them and between them (0 to 1), and
    /// how long they were on average, in packets.
    pub loss_bursts: u64,
    pub burst_loss_rate: f64,
    pub burst_packets: f64,
    pub gap_loss_rate: f64,
    pub gap_packets: f64,
    /// From the answer to the agent's first audio on the wire.
    pub first_audio_delay_ms: Option<u64>,
    /// From the answer to the caller's first audio.
    pub first_caller_audio_ms: Option<u64>,
    /// What was put into the caller's stream for what was lost or not sent, and how often that was
    /// needed.
    pub filled_ms: u64,
    pub gaps: u64,
    /// The agent's audio as it came, what of it reached the wire, what `clear` took away, what was
    /// dropped because the queue or the pod's budget was full, and what was left out because turns
    /// had gone by while the node was late.
    pub agent_audio_ms: u64,
    pub played_ms: u64,
    pub cleared_ms: u64,
    pub dropped_ms: u64,
    pub left_out_ms: u64,
    pub clears: u64,
    pub marks: u64,
    pub marks_dropped: u64,
    pub digits: u64,
    pub digits_sent: u64,
    /// Pauses of the agent of two seconds or more, and the longest.
    pub silences: u64,
    pub longest_silence_ms: u64,
    /// How often the agent answered the caller's speech, how long after its end on average, and at
    /// most; of telephone speech only, as are interruptions.
    pub responses: u64,
    pub mean_response_ms: Option<u64>,
    pub longest_response_ms: Option<u64>,
    /// How often `clear` cut off the agent's speech; how long after the caller had begun to speak at
    /// most, where he had; and how much later the last of it left at most.
    pub interruptions: u64,
    pub longest_reaction_ms: Option<u64>,
    pub longest_interruption_ms: Option<u64>,
    /// Frames left out because the clock was served more than a frame late.
    pub skipped_frames: u64,
    /// Messages of the agent that could not be read, or that nobody knows, or for another stream.
    pub agent_messages_malformed: u64,
    pub agent_messages_unknown: u64,
    pub agent_messages_foreign: u64,
    /// Where the carrier's packets really came from.
    pub latched: Option<SocketAddr>,
    /// Behind a load balancer: no packet came within a second, so we sent first.
    pub sent_before_heard: bool,
}
