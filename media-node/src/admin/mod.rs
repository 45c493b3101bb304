//! The admin HTTP interface: probes, metrics, status and calls.
//!
//! It reads what others left for it ([`Calls`], a [`Status`] made on demand) and asks for what it
//! may not do itself ([`AdminCommand`]). It is served on the SIP runtime and never waits for a call.

mod api;
mod calls;
mod dtmf;
mod errors;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::call::Unsendable;
use crate::config::Secret;
use crate::media::Digits;
use crate::telemetry::Metrics;

pub use api::{openapi, router};
pub use calls::{Calls, Filter};
pub use status::{
    AgentStatus, CallCounts, Reachability, RejectedObject, State, Status, StrainView, TrunkStatus,
};

/// What the admin interface asks of the signalling task.
#[derive(Debug)]
pub enum AdminCommand {
    /// End a call; the reply is `true` when it was live.
    HangUp { id: String, reply: oneshot::Sender<bool> },
    /// Press keys in a call.
    SendDigits { id: String, digits: Digits, reply: oneshot::Sender<Result<(), Unsendable>> },
}

/// What became of something that another node of the pool passed to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    Taken,
    /// It is not sealed with the pool's key.
    Foreign,
    /// Too much waits already.
    Busy,
}

/// Takes a sealed frame.
pub type Receive = dyn Fn(&[u8]) -> Relayed + Send + Sync;

/// What a handler has at hand. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    pub calls: Arc<Calls>,
    pub metrics: Arc<Metrics>,
    /// Asked at each request of `/readyz` and `/v1/status`.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
    /// The bearer token, asked at each request because it comes with the manifests; `None` lets
    /// everybody in, which is meant for a loopback address.
    pub token: Arc<dyn Fn() -> Option<Secret> + Send + Sync>,
    pub commands: mpsc::Sender<AdminCommand>,
    /// Takes what another node of the pool passes to us.
    pub relay: Arc<Receive>,
}
