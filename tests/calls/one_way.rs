//! A call in which only one side is heard says so at once, and why.

use std::net::SocketAddr;
use std::time::Duration;

use trunkline_media_node::call::Phase;
use trunkline_media_node::call::media::OneWayKind;

use super::config::usual;
use super::net::{CARRIER_RTP, NODE_ADDRESS, Net};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_caller_who_is_not_heard_is_told_of_within_two_seconds_and_stands_in_the_record() {
    let mut net = Net::new(usual(), 1);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    let stranger = SocketAddr::from(([198, 51, 100, 66], 4000));
    net.rtp_from(stranger, vec![0x80; 172]);
    net.run_for(2 * SECOND);
    let told = net.phases.iter().find(|(phase, _)| *phase == Phase::OneWayAudio);
    let (_, view) = told.expect("the call says that its caller is not heard");
    let [one_way] = &view.media.one_way_audio[..] else { panic!("{:?}", view.media) };
    assert_eq!(one_way.kind, OneWayKind::CallerNotHeard);
    let advertised = view.media.local_address.to_string();
    assert!(advertised.starts_with(NODE_ADDRESS), "{advertised}");
    for address in [advertised.as_str(), CARRIER_RTP, "198.51.100.66:4000"] {
        assert!(one_way.reason.contains(address), "{}", one_way.reason);
    }

    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    let record = serde_json::to_value(net.record()).unwrap();
    assert_eq!(record["media"]["oneWayAudio"][0]["kind"], "CallerNotHeard");
    assert_eq!(record["media"]["remoteAddress"], CARRIER_RTP);
}

#[test]
fn a_caller_who_is_heard_leaves_nothing_of_it_in_the_record() {
    let mut net = Net::new(usual(), 2);
    let invite = net.carrier.invite("+15551230001");
    net.send(&invite);
    net.run_for(SECOND);
    net.speak((0..250).map(|_| vec![7; 160]));
    net.run_for(4 * SECOND);
    let bye = net.carrier.next_request("BYE", "");
    net.send(&bye);
    net.run_for(SECOND);
    let record = serde_json::to_value(net.record()).unwrap();
    assert_eq!(record["media"].get("oneWayAudio"), None, "{record}");
}
