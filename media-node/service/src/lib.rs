//! What every long-running program of Trunkline does alike: it writes logs and sends traces
//! ([`telemetry`]), and answers HTTP within limits ([`http`]).

pub mod http;
pub mod telemetry;
