//! Many callers at once, cheap enough to stand beside what they measure.
//!
//! Signalling of all calls is one connection (or one UDP socket) on a `current_thread` runtime. Media of
//! all calls is one thread with one epoll loop: a socket a call, PCMU every 20 ms, phases spread evenly.
//! Each frame is stamped ([`crate::stamp`]), so its way to the agent and back is measured by itself.

mod media;
mod signalling;

pub use media::{Measured, Media, MediaCall};
pub use signalling::{Answered, Options, Refused, Signalling, Transport};

/// Random bytes for keys, tags and branches. Not secret: the calls are made to be measured.
pub fn random<const N: usize>() -> [u8; N] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut bytes = [0; N];
    for part in bytes.chunks_mut(8) {
        let word = RandomState::new().build_hasher().finish().to_ne_bytes();
        part.copy_from_slice(&word[..part.len()]);
    }
    bytes
}

/// The same as hexadecimal text.
pub fn random_hex<const N: usize>() -> String {
    random::<N>().iter().map(|byte| format!("{byte:02x}")).collect()
}
