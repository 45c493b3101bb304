//! The way back (RFC 3261 §18.2, RFC 3581): what a request's top Via is told, and where its
//! responses go.

use crate::sip::{Flow, Headers, Malformed, Transport, Via};

/// Where SIP over UDP is heard when a Via names no port.
const DEFAULT_PORT: u16 = 5060;

/// Writes `received` and `rport` into the top Via of a request that came on `flow`, and returns the
/// flow its responses take.
pub(super) fn stamp(headers: &mut Headers, flow: Flow) -> Result<Flow, Malformed> {
    let reply = reply_flow(&headers.top_via()?, flow);
    headers.stamp_via(flow.remote)?;
    Ok(reply)
}

/// A connection carries the response back. Over UDP it goes to the address the request came from:
/// to its port where `rport` asks for that, else to the port the Via names. `maddr` is not obeyed:
/// it would let a request aim our responses at a third party.
fn reply_flow(via: &Via, flow: Flow) -> Flow {
    let mut reply = flow;
    if flow.transport == Transport::Udp && via.rport.is_none() {
        reply.remote.set_port(via.port.filter(|port| *port != 0).unwrap_or(DEFAULT_PORT));
    }
    reply
}
