//! The plan against a small cluster in memory, in virtual time.

mod config;
mod exposure;
mod lifecycle;
mod objects;
mod properties;
mod sim;
mod status;
