//! The operator: what people wrote as Trunks, Agents and MediaPools becomes media pods that take
//! calls.
//!
//! ```text
//!   observe ─▶ World ─▶ plan ─▶ Plan ─▶ apply
//!   watches,            pure             alone writes
//!   polls, probes
//! ```
//!
//! [`world::World`] is what is, as plain data; [`plan::plan`] compares it with what should be, without
//! a clock and without I/O, and says what to do. An empty plan means that nothing is left to do.
#![forbid(unsafe_code)]

pub mod apply;
pub mod cli;
pub mod client;
pub mod http;
pub mod lease;
pub mod names;
pub mod observe;
pub mod plan;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod telemetry;
pub mod verify;
pub mod wakes;
pub mod world;
