//! The media node: a carrier's calls in over SIP (TLS, TCP, UDP) and SRTP, an AI agent's WebSocket
//! on the other side, 20 ms at a time.
//!
//! The protocol rooms are cores without I/O; ARCHITECTURE.md in the repository's root is the map.

pub mod admin;
pub mod audio;
pub mod call;
pub mod check;
pub mod cli;
pub mod config;
pub mod endpoints;
mod io;
pub mod media;
pub mod random;
pub mod rtp;
pub mod run;
pub mod sdp;
pub mod sip;
pub mod telemetry;
