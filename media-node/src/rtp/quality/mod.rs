//! How good a stream sounds, from what is known of its packets.
//!
//! ```text
//!  reorder ─▶ bursts ─┐
//!  RTCP SR, RR ─▶ stats ─┼▶ emodel ─▶ R, MOS
//!  RTCP XR ─▶ xr ────────┘
//! ```

pub mod bursts;
pub mod emodel;
pub mod xr;
