//! The impure room: sockets, TLS, clocks, randomness and tasks. Everything else in the node is told
//! what happened and says what it wants done; here it is done.
#![expect(clippy::disallowed_methods, reason = "this is where the clock is read and waited for")]

pub(crate) mod agent;
pub(crate) mod clock;
mod connection;
pub(crate) mod dial;
pub(crate) mod ephemeral;
pub(crate) mod journal;
mod queue;
pub(crate) mod relay;
pub(crate) mod shard;
pub(crate) mod signalling;
pub(crate) mod sip;
pub(crate) mod tls;
