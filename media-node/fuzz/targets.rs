//! Every fuzz target by name; each name is also a folder of `corpus/`. The same functions run under
//! libFuzzer (`make fuzz`) and over the kept corpus in `make test`.

// Each file is a module of its own here, and has no crate above it that could reach further.
#![allow(unreachable_pub)]

#[path = "targets/audio.rs"]
mod audio;
#[path = "targets/dtmf.rs"]
mod dtmf;
#[path = "targets/rtp.rs"]
mod rtp;
#[path = "targets/sdp.rs"]
mod sdp;
#[path = "targets/sip.rs"]
mod sip;
#[path = "targets/transaction.rs"]
mod transaction;
#[path = "targets/twilio.rs"]
mod twilio;

/// Takes any bytes; panics when something that must hold does not.
pub(crate) type Target = fn(&[u8]);

pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("sip_message", sip::message),
    ("sip_stream", sip::stream),
    ("transactions", transaction::transactions),
    ("sdp_session_description", sdp::session_description),
    ("sdp_negotiate", sdp::negotiate),
    ("rtp_packet", rtp::packet),
    ("rtp_rtcp", rtp::rtcp),
    ("rtp_srtp", rtp::srtp),
    ("rtp_telephone_event", rtp::telephone_events),
    ("rtp_reorder", rtp::reorder),
    ("audio_g711", audio::g711),
    ("audio_concealment", audio::concealment),
    ("audio_g722", audio::g722),
    ("audio_opus", audio::opus),
    ("audio_transcode", audio::transcode),
    ("dtmf_info", dtmf::info),
    ("dtmf_detector", dtmf::detector),
    ("twilio_message", twilio::message),
    ("call_media", twilio::media),
];
