//! A carrier that is asked whether it is there, beside the calls that it makes.

use std::time::Duration;

use trunkline_media_node::sip::{HeaderName, Method};

use super::config::{BASE, ROUTES, load, trunk};
use super::net::{Net, statuses};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_carrier_is_asked_while_it_calls_and_neither_disturbs_the_other() {
    let outbound = "  outbound: {addresses: [\"203.0.113.7\"], optionsPeriodSeconds: 5}\n";
    let trunk = trunk("{sources: [\"203.0.113.0/24\"]}", &format!("{ROUTES}{outbound}"));
    let mut net = Net::new(load(&format!("{BASE}{trunk}")), 11);
    net.run_for(3 * SECOND);
    assert!(net.options["carrier-a"].ok, "{:?}", net.options);
    assert_eq!(net.options["carrier-a"].rtt_milliseconds, Some(10), "there and back");
    assert_eq!(net.advertised[0].reaches_us, Some(true), "{:?}", net.advertised);

    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(20 * SECOND);
    assert_eq!(statuses(&net.carrier.responses), [100, 180, 200]);
    assert_eq!(net.node.load().active, 1);
    let of = |net: &Net, method: Method| {
        net.carrier.requests.iter().filter(|request| request.method == method).count()
    };
    assert!((4..=6).contains(&of(&net, Method::Options)), "every five seconds");
    let ids: std::collections::HashSet<_> = net
        .carrier
        .requests
        .iter()
        .map(|request| request.headers.text(&HeaderName::CallId).map(|id| id.into_owned()))
        .collect();
    assert_eq!(ids.len(), of(&net, Method::Options), "each question is one of its own");

    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    assert!(net.ended() && of(&net, Method::Bye) == 0);
    assert_eq!(net.strangers, 0);
}
