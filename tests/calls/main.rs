//! Whole calls in virtual time: a carrier, the node's machines and an agent on an emulated network
//! whose loss, jitter and reordering come from a seed. No test here waits for a clock.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod carrier;
mod config;
mod net;

mod audio;
mod codecs;
mod digits;
mod endings;
mod one_way;
mod probes;
mod refusals;
mod setup;
mod shared_ports;
