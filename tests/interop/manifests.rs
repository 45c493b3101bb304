//! Manifests that change, break and are repaired while a call talks.

use std::time::Duration;

use trunkline_tests::manifests::{agent, trunk};
use trunkline_tests::node::Node;
use trunkline_tests::process::wait_until;

use crate::site::{EchoAgent, SOON, Site, load};

const NUMBER: &str = "+15551230001";

fn route_to(agent: &str) -> String {
    trunk("carrier", "TLS", "Required", "{sources: [\"127.0.0.0/8\"]}", &[("", agent)])
}

/// Makes calls until one is taken by `agent`; the change is to be seen within a second or so.
fn wait_until_calls_go_to(agent: &str, site: &Site, node: &Node) {
    let mut tries = 0;
    wait_until(&format!("a new call goes to {agent}"), SOON, || {
        tries += 1;
        let arguments = ["--setups", "1", "--hold", "0.05"];
        let mut caller = load(&format!("probe-{agent}-{tries}"), site, NUMBER, &arguments);
        let result = caller.wait_for_event("result", 0, SOON);
        assert_eq!(result["answered"], 1, "a new call is answered all the time: {result}");
        node.admin.calls().iter().any(|call| call["agent"] == agent).then_some(())
    });
}

#[test]
fn a_talking_call_never_notices_and_the_next_one_sees_the_change() {
    let site = Site::new("manifests", 10);
    let echo = EchoAgent::start("agent", &site.directory);
    for name in ["first", "second", "third"] {
        site.manifests.write(&format!("{name}.yaml"), &agent(name, &echo.url("echo")));
    }
    site.manifests.write("trunk.yaml", &route_to("first"));
    let node = site.start();
    let mut talking = load("talking", &site, NUMBER, &["--calls", "1", "--window", "12"]);
    talking.wait_for_event("window-begin", 0, SOON);

    site.manifests.write("trunk.yaml", &route_to("second"));
    wait_until_calls_go_to("second", &site, &node);

    site.manifests.write("trunk.yaml", "kind: Trunk\nspec: {routes: [this is not\n");
    wait_until("the broken file is reported", SOON, || {
        (node.admin.status()["rejected"].as_array().is_some_and(|all| !all.is_empty()))
            .then_some(())
    });
    wait_until_calls_go_to("second", &site, &node);

    site.manifests.write("trunk.yaml", &route_to("third"));
    wait_until("the repair is seen", SOON, || {
        node.admin.status()["rejected"].as_array().is_none_or(Vec::is_empty).then_some(())
    });
    wait_until_calls_go_to("third", &site, &node);

    let result = talking.wait_for_event("result", 0, Duration::from_secs(30));
    let media = &result["media"];
    assert_eq!(
        (&result["dropped"], &media["lost"], &media["echoless_calls"]),
        (&0.into(), &0.into(), &0.into()),
        "{result}"
    );
    let echoes = media["echo_ms"]["n"].as_u64().unwrap_or(0);
    // None was lost; those of the last moments may be on their way still.
    assert!(echoes >= 540, "{echoes} of 600 frames came back");
    assert!(node.admin.calls().iter().any(|call| call["agent"] == "first"));
}
