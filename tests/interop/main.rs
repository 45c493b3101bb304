//! The media node against real programs: PJSIP, Pipecat, SIPp, over real sockets, TLS and SRTP.
//!
//! Each test has a node of its own. They wait on conditions, never for a time to pass; where a length
//! of time is the subject (a minute of calls, 75 seconds of silence) a peer measures it. What the
//! programs printed stays in `target/interop/<test>/`.

mod manifests;
mod pjsip_pipecat;
mod probes;
mod relay;
mod secrets;
mod shared_ports;
mod silence;
mod sipp;
mod site;
