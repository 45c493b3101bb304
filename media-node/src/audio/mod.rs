//! Speech between the wire and the agent: G.711 by table, what fills a silence, and keys as tones.

pub mod comfort_noise;
pub mod dtmf;
pub mod g711;

use crate::media::Codec;

/// The byte that is silence in a codec of one byte a sample.
pub const fn silence_byte(codec: Codec) -> u8 {
    match codec {
        Codec::Pcmu => 0xff,
        Codec::Pcma => 0xd5,
    }
}
