//! The rendered configuration: what is in it, what is not, and that it is always the same bytes.

use std::io::Read as _;

use serde_json::{Value, json};

use super::sim::{NAMESPACE, Sim};
use crate::plan::config::{self, KEY, MANIFESTS, SCHEMA_KEY, TOKEN};
use crate::plan::{Plan, plan};
use crate::world::Object;

fn files(plan: &Plan) -> config::Files {
    plan.pools["default"].rendered.as_ref().unwrap().files.clone()
}

fn list(files: &config::Files) -> Vec<Value> {
    let mut json = String::new();
    let packed = files[MANIFESTS].0.as_slice();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut json).unwrap();
    let list: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&list["apiVersion"], &list["kind"]), (&json!("v1"), &json!("List")));
    list["items"].as_array().unwrap().clone()
}

fn names(items: &[Value]) -> Vec<String> {
    let name = |it: &Value| format!("{}/{}", it["kind"], it["metadata"]["name"]).replace('"', "");
    items.iter().map(name).collect()
}

fn item<'a>(items: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is = |it: &&Value| it["kind"] == kind && it["metadata"]["name"] == name;
    items.iter().find(is).unwrap_or_else(|| panic!("{kind}/{name}"))
}

/// Letters that gzip cannot shorten much.
fn noise(seed: u64, len: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed;
    let letter = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        char::from(LETTERS[(state >> 58) as usize])
    };
    (0..len).map(letter).collect()
}

#[test]
fn holds_what_the_pools_trunks_need_and_nothing_else() {
    let mut sim = Sim::with_pool(1);
    sim.secret("other", &[("token", "x")]);
    sim.agent(
        "lonely",
        json!({"endpoint": {"webSocket": {
        "url": "wss://x.example/", "dialect": "TwilioMediaStreams",
        "authSecretRef": {"name": "other", "key": "token"}}}}),
    );
    sim.agent(
        "reception",
        json!({"endpoint": {"webSocket": {
        "url": "wss://y.example/", "dialect": "TwilioMediaStreams"}}}),
    );
    sim.agent(
        "support",
        json!({"endpoint": {"webSocket": {
        "url": "wss://agents.example.com/ws", "dialect": "TwilioMediaStreams"}},
        "fallback": {"agentRef": {"name": "reception"}}}),
    );
    sim.pool("second", json!({"replicas": 0}));
    sim.trunk(
        "elsewhere",
        json!({"poolRef": {"name": "second"},
        "inbound": {"sources": ["192.0.2.0/24"]}}),
    );
    let files = files(&plan(&sim.world, sim.now));
    let items = list(&files);
    assert_eq!(
        names(&items),
        [
            "Secret/carrier-a",
            "Secret/sip-cert",
            "MediaPool/default",
            "Agent/reception",
            "Agent/support",
            "Trunk/carrier-a"
        ]
    );
    assert!(items.iter().all(|it| it["metadata"]["namespace"] == NAMESPACE));
    let trunk = item(&items, "Trunk", "carrier-a");
    assert!(trunk["metadata"]["creationTimestamp"].is_string(), "it settles conflicts");
    assert_eq!(files[SCHEMA_KEY].0, trunkline_crds::SCHEMA.to_string().into_bytes());
    assert_eq!((files[TOKEN].0.len(), files[KEY].0.len()), (43, 43));
    assert_ne!(files[TOKEN], files[KEY], "the token is shown to whoever polls; the key to nobody");
}

#[test]
fn only_the_keys_that_are_read_are_copied() {
    let mut sim = Sim::with_pool(1);
    sim.secret("carrier-a", &[("username", "alice"), ("password", "hunter2"), ("root", "of all")]);
    let items = list(&files(&plan(&sim.world, sim.now)));
    let data = item(&items, "Secret", "carrier-a")["data"].as_object().unwrap().clone();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["password", "username"]);
    assert_eq!(data["password"], "aHVudGVyMg==");
}

#[test]
fn every_object_is_what_the_api_server_would_take() {
    let sim = Sim::with_pool(1);
    for item in list(&files(&plan(&sim.world, sim.now))) {
        if item["kind"] != "Secret" {
            let mut item = item;
            item["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
            assert_eq!(trunkline_crds::validate::validate_object(&item), [], "{item}");
        }
    }
}

#[test]
fn the_same_objects_give_the_same_bytes() {
    let mut sim = Sim::with_pool(1);
    let before = files(&plan(&sim.world, sim.now));
    sim.pass_time(3600);
    assert!(files(&plan(&sim.world, sim.now)) == before);
}

#[test]
fn scaling_and_placing_tell_the_pods_nothing_new() {
    let mut sim = Sim::with_pool(1);
    let hash = |sim: &Sim| {
        plan(&sim.world, sim.now).pools["default"].rendered.clone().unwrap().hash.clone()
    };
    let before = hash(&sim);
    sim.scale(7);
    sim.edit_pool(|spec| {
        spec["placement"] = json!({"region": "us-east1"});
        spec["resources"] = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "2"}});
    });
    assert_eq!(hash(&sim), before);
    sim.edit_pool(|spec| spec["callsPerPod"] = json!(7));
    assert_ne!(hash(&sim), before);
}

#[test]
fn the_hash_is_that_of_the_media_node() {
    let file = |text: &str| k8s_openapi::ByteString(text.as_bytes().to_vec());
    let files = config::Files::from([("schema".into(), file("1")), ("token".into(), file("abc"))]);
    // printf 'schema\0\0\0\0\0\0\0\0\0011token\0\0\0\0\0\0\0\0\003abc' | sha256sum
    assert_eq!(config::hash(&files), "e3149560ba24");
}

#[test]
fn a_secret_that_disappears_stays_as_it_was_last_and_the_trunk_says_so() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    let before = files(&plan(&sim.world, sim.now));
    sim.world.secrets.remove("carrier-a");
    let after = sim.pass();
    assert!(files(&after) == before);
    sim.settle();
    let resolved = sim.condition("Trunk", "carrier-a", "ResolvedRefs");
    assert!(
        resolved.starts_with("False SecretNotFound: Secret \"carrier-a\" not found"),
        "{resolved}"
    );
    assert!(sim.events.contains(&"SecretNotFound"));
    // The operator starts anew and has nothing but the Secret in the cluster.
    sim.world.rendered.clear();
    assert!(files(&plan(&sim.world, sim.now)) == before);

    sim.secret("carrier-a", &[("username", "alice"), ("password", "new")]);
    sim.settle();
    assert_eq!(sim.condition("Trunk", "carrier-a", "ResolvedRefs"), "True ResolvedRefs: ");
    let items = list(&files(&plan(&sim.world, sim.now)));
    assert_eq!(item(&items, "Secret", "carrier-a")["data"]["password"], "bmV3");
}

#[test]
fn a_secret_that_loses_a_key_is_taken_whole_from_before() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    sim.secret("carrier-a", &[("username", "mallory")]);
    let items = list(&files(&sim.pass()));
    let data = &item(&items, "Secret", "carrier-a")["data"];
    assert_eq!(
        (&data["username"], &data["password"]),
        (&json!("YWxpY2U="), &json!("aHVudGVyMg=="))
    );
    let resolved = sim.condition("Trunk", "carrier-a", "ResolvedRefs");
    assert!(resolved.starts_with("False SecretKeyMissing"), "{resolved}");
    assert!(!resolved.contains("mallory"));
}

#[test]
fn who_misses_a_secret_from_the_start_is_left_out_alone() {
    let mut sim = Sim::with_pool(1);
    sim.trunk(
        "carrier-b",
        json!({"inbound": {"authSecretRef": {"name": "later"}},
        "routes": [{"name": "all", "agentRef": {"name": "support"}}]}),
    );
    sim.settle();
    let items = list(&files(&plan(&sim.world, sim.now)));
    assert!(!names(&items).contains(&"Trunk/carrier-b".to_owned()));
    assert_eq!(sim.condition("Trunk", "carrier-a", "Ready"), "True Ready: taking calls");
    let ready = sim.condition("Trunk", "carrier-b", "Ready");
    assert!(ready.starts_with("False SecretNotFound"), "{ready}");

    sim.secret("later", &[("username", "bob"), ("password", "x")]);
    sim.settle();
    assert_eq!(sim.condition("Trunk", "carrier-b", "Ready"), "True Ready: taking calls");
}

#[test]
fn past_the_limit_the_configuration_before_stays() {
    let mut sim = Sim::with_pool(1);
    sim.settle();
    let before = files(&plan(&sim.world, sim.now));
    let large = noise(1, 1_300_000);
    sim.secret("carrier-a", &[("username", "alice"), ("password", &large)]);
    let after = sim.pass();
    let rendered = after.pools["default"].rendered.clone().unwrap();
    assert!(rendered.too_large.is_some() && rendered.files == before);
    let accepted = sim.condition("MediaPool", "default", "Accepted");
    assert!(accepted.starts_with("False ConfigTooLarge"), "{accepted}");
    assert!(sim.events.contains(&"ConfigTooLarge"));
    sim.settle();
    assert_eq!(sim.pod_names(), ["default-0"]);
}

#[test]
fn secrets_never_show() {
    let mut sim = Sim::with_pool(1);
    let plan = sim.pass();
    let shown = format!("{plan:?}");
    for secret in ["hunter2", "aHVudGVyMg", &"t".repeat(43), "chain"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    let objects: Vec<_> = sim.world.objects.values().cloned().collect();
    assert!(objects.iter().any(|it| matches!(**it, Object::Secret(_))));
    assert!(!format!("{objects:?}").contains("hunter2"));
}

#[test]
fn all_named_secrets_are_wanted() {
    let mut sim = Sim::with_pool(1);
    sim.agent("b", json!({"endpoint": {"webSocket": {
        "url": "wss://x.example/", "dialect": "TwilioMediaStreams",
        "authSecretRef": {"name": "one"}, "caRef": {"name": "two"},
        "headers": [{"name": "X-A", "valueFrom": {"secretKeyRef": {"name": "three", "key": "k"}}}]}}}));
    let wanted: Vec<_> = config::wanted_secrets(&sim.world).into_iter().collect();
    assert_eq!(wanted, ["carrier-a", "one", "sip-cert", "three", "two"]);
}

#[test]
fn five_thousand_trunks_with_a_secret_each_fit() {
    let mut sim = Sim::with_pool(1);
    sim.validates = false;
    for n in 0..5000 {
        let (name, password) = (format!("carrier-{n}"), noise(n + 1, 24));
        sim.secret(&name, &[("username", &name), ("password", &password)]);
        sim.trunk(
            &name,
            json!({
            "inbound": {"sources": ["192.0.2.0/24"], "authSecretRef": {"name": name}},
            "routes": [{"name": "all", "numbers": [format!("+1555{n:07}")],
                "agentRef": {"name": "support"}}]}),
        );
    }
    let plan = sim.pass();
    let rendered = plan.pools["default"].rendered.clone().unwrap();
    let len = rendered.files[MANIFESTS].0.len();
    assert!(rendered.too_large.is_none() && len < config::MAX_LEN_BYTES, "{len} bytes");
    let again = sim.pass();
    let same = again.pools["default"].rendered.as_ref().unwrap();
    assert!(std::sync::Arc::ptr_eq(same, &rendered), "nothing is rendered twice");
}
