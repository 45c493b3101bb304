//! What every long-running program of Trunkline does alike: it writes logs and sends traces
//! ([`telemetry`]), answers HTTP within limits ([`http`]), and asks by HTTP ([`client`]).

pub mod client;
pub mod http;
pub mod telemetry;
