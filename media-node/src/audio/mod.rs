//! Speech between the wire and the agent: how it is written on either side, from one side's writing
//! to the other's, what fills a silence or a gap, and keys as tones.
//!
//! ```text
//!  carrier's Codec ─▶ Transcoder ─▶ agent's Format      G.711 by table, or not at all
//!  carrier's Codec ◀─ Transcoder ◀─ agent's Format      else decoder ─▶ Resampler ─▶ encoder
//! ```

pub mod comfort_noise;
pub mod concealment;
pub mod dtmf;
pub mod format;
pub mod g711;
pub mod g722;
pub mod level;
#[cfg(feature = "opus")]
pub mod opus;
pub mod resample;
#[cfg(test)]
pub(crate) mod tone;
pub mod transcode;
