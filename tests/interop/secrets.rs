//! What a log may hold when it says all it can.

use std::fs;

use trunkline_tests::manifests::{agent, credentials, trunk};
use trunkline_tests::node::Node;
use trunkline_tests::peers::Softphone;

use crate::site::{EchoAgent, SOON, Site, argument, newest_call};

const NUMBER: &str = "+15551239876";
const CALLER: &str = "+442079460123";
const PASSWORD: &str = "open-sesame-77";
const TOKEN: &str = "agent-token-88";

#[test]
fn no_key_password_token_or_number_is_in_the_log_at_its_most_talkative() {
    let site = Site::new("secrets", 10);
    let echo = EchoAgent::start("agent", &site.directory);
    let bot = agent("bot", &echo.url("echo")).replacen(
        "dialect: TwilioMediaStreams",
        "dialect: TwilioMediaStreams, authSecretRef: {name: bot-token, key: token}",
        1,
    );
    let token = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bot-token, namespace: trunkline}}\n\
         stringData: {{token: {TOKEN}}}\n"
    );
    let inbound = "{authSecretRef: {name: carrier-in}}";
    site.manifests
        .write("agent.yaml", &bot)
        .write("token.yaml", &token)
        .write("secret.yaml", &credentials("carrier-in", "carrier", PASSWORD))
        .write("trunk.yaml", &trunk("carrier", "TLS", "Required", inbound, &[("", "bot")]));
    let node = Node::start_logging("node", site.manifests.path(), &site.directory, &[], "trace");
    assert_eq!(node.admin.rejected(), []);

    let (uri, ca) = (site.tls_uri(NUMBER), argument(&site.certificate.ca_file));
    let caller = format!("sip:{CALLER}@127.0.0.1");
    let arguments = [
        ["--uri", uri.as_str()],
        ["--ca", ca.as_str()],
        ["--srtp", "mandatory"],
        ["--from", caller.as_str()],
        ["--username", "carrier"],
        ["--password", PASSWORD],
    ];
    let mut phone = Softphone::start("softphone", &site.directory, &arguments.concat());
    phone.0.wait_for_event("connected", 0, SOON);
    phone.hang_up();
    phone.0.wait_for_event("disconnected", 0, SOON);
    let ended = newest_call(&node, "the call has ended", |call| call["state"] == "Ended");
    assert!(ended["media"]["encryption"].is_string(), "{ended}");
    drop(node);

    let log = ["node.out", "node.err"]
        .map(|file| fs::read_to_string(site.file(file)).unwrap_or_default())
        .concat();
    assert!(log.contains("INVITE") && log.contains("call ended"), "the log says what happened");
    let secrets = ["inline:", "a=crypto", "response=", PASSWORD, TOKEN, &NUMBER[1..], &CALLER[1..]];
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
