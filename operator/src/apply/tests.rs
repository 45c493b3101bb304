use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower_test::mock;

use super::*;
use crate::plan::{self, Figures, Regarding};

/// What was asked: method, path and body.
type Asked = Vec<(Method, String, Value)>;

/// An applier before an API server that answers as `answer` says, until it is dropped.
fn served(
    leadership: Leadership,
    answer: impl Fn(usize, &str) -> (u16, Value) + Send + 'static,
) -> (Applier, JoinHandle<Asked>) {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let client = Client::new(service, "voice");
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let path = parts.uri.path().to_owned();
            let (code, reply) = answer(asked.len(), &path);
            asked.push((parts.method, path, serde_json::from_slice(&body).unwrap_or_default()));
            let reply = serde_json::to_vec(&reply).unwrap();
            send.send_response(Response::builder().status(code).body(Body::from(reply)).unwrap());
        }
        asked
    });
    let events = Events::new(client.clone(), "operator-0".into());
    let metrics = Arc::new(Metrics::new());
    (Applier::new(client, leadership, events, metrics, Instant::now()), server)
}

fn refused(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code,
    });
    (code, status)
}

fn made(name: &str) -> (u16, Value) {
    (201, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": "7"}}))
}

fn create(name: &str) -> PodAction {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    PodAction {
        name: name.into(),
        change: PodChange::Create(Box::new(pod)),
        event: Some(plan::Event {
            regarding: Regarding { kind: "Pod", name: name.into(), uid: String::new() },
            warning: false,
            reason: "PodCreated",
            note: "slot 0".into(),
        }),
    }
}

fn delete(name: &str) -> PodAction {
    let change =
        PodChange::Delete { uid: "7".into(), resource_version: "70".into(), grace_seconds: None };
    PodAction { name: name.into(), change, event: None }
}

fn pods(actions: Vec<PodAction>) -> Plan {
    let pool = PoolPlan { pods: actions, figures: Figures::default(), ..PoolPlan::default() };
    Plan { pools: [("default".to_owned(), pool)].into(), ..Plan::default() }
}

fn trunk_status(name: &str, urgency: Urgency) -> StatusPatch {
    StatusPatch {
        uid: "9".into(),
        status: Status::Trunk(name.into(), Box::default()),
        urgency,
        events: Vec::new(),
    }
}

#[tokio::test]
async fn a_pod_that_pod_security_refuses_is_remembered_in_the_servers_words_until_one_is_taken() {
    let words = r#"pods "default-0" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)"#;
    let (applier, server) = served(Leadership::alone(), move |asked, path| match asked {
        0 => refused(403, "Forbidden", words),
        _ if path.ends_with("/pods") => made("default-0"),
        _ => (201, json!({"metadata": {}})),
    });
    let mut memory = Memory::default();
    let outcome = applier
        .apply("voice", pods(vec![create("default-0"), create("default-1")]), &mut memory)
        .await;
    assert_eq!(outcome.failures.len(), 1, "the second waits: {:?}", outcome.failures);
    assert_eq!(memory.refused["default"], Refusal { pod_security: true, message: words.into() });
    let outcome = applier.apply("voice", pods(vec![create("default-0")]), &mut memory).await;
    assert!(outcome.failures.is_empty() && memory.refused.is_empty());
    drop(applier);
    let asked = server.await.unwrap();
    let paths: Vec<_> = asked.iter().map(|(_, path, _)| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(paths, ["pods", "pods", "events"]);
    assert_eq!(asked[2].2["regarding"]["uid"], "7", "the event names the pod that was made");
}

#[tokio::test]
async fn whatever_keeps_the_default_pool_from_being_made_is_remembered_until_it_is() {
    let words = "failed calling webhook: connection refused";
    let (applier, _server) = served(Leadership::alone(), move |asked, _| match asked {
        0 => refused(500, "InternalError", words),
        _ => made("default"),
    });
    let plan = || {
        let pool = MediaPool::new("default", trunkline_crds::MediaPoolSpec::default());
        Plan { create_pool: Some(Box::new(pool)), ..Plan::default() }
    };
    let mut memory = Memory::default();
    let outcome = applier.apply("voice", plan(), &mut memory).await;
    assert_eq!(outcome.failures.len(), 1);
    assert_eq!(memory.refused["default"], Refusal { pod_security: false, message: words.into() });
    applier.apply("voice", plan(), &mut memory).await;
    assert!(memory.refused.is_empty());
}

#[tokio::test]
async fn a_name_that_is_taken_is_no_failure_and_no_event() {
    let (applier, server) = served(Leadership::alone(), |_, _| {
        refused(409, "AlreadyExists", r#"pods "default-0" already exists"#)
    });
    let outcome =
        applier.apply("voice", pods(vec![create("default-0")]), &mut Memory::default()).await;
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    drop(applier);
    assert_eq!(server.await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_pod_is_deleted_only_as_it_was_seen() {
    let (applier, server) = served(Leadership::alone(), |_, _| {
        refused(409, "Conflict", "the ResourceVersion in the precondition does not match")
    });
    let plan = pods(vec![delete("default-0"), delete("default-1")]);
    let outcome = applier.apply("voice", plan, &mut Memory::default()).await;
    assert_eq!(outcome.failures.len(), 1, "it is looked at again: {:?}", outcome.failures);
    drop(applier);
    let asked = server.await.unwrap();
    assert_eq!(asked.len(), 1, "and what follows waits");
    assert_eq!(asked[0].2["preconditions"], json!({"uid": "7", "resourceVersion": "70"}));
    assert!(asked[0].2.get("gracePeriodSeconds").is_none_or(Value::is_null));
}

#[tokio::test]
async fn a_server_that_asks_for_patience_gets_it() {
    let (applier, server) = served(Leadership::alone(), |_, _| {
        refused(429, "TooManyRequests", "too many requests, please try again later")
    });
    let mut memory = Memory::default();
    let outcome = applier.apply("voice", pods(vec![create("default-0")]), &mut memory).await;
    assert_eq!(outcome.failures.len(), 1);
    assert!(memory.refused.is_empty(), "that says nothing about the pod");
    drop(applier);
    server.await.unwrap();
}

#[tokio::test]
async fn one_pool_that_fails_does_not_hold_up_another() {
    let (applier, server) = served(Leadership::alone(), |_, path| match path.ends_with("/pods") {
        true => refused(500, "InternalError", "etcd is not there"),
        false => (200, json!({"metadata": {}})),
    });
    let mut plan = pods(vec![create("a-0")]);
    let other = PoolPlan { pods: vec![create("b-0")], ..PoolPlan::default() };
    plan.pools.insert("other".into(), other);
    plan.statuses.push(trunk_status("carrier-a", Urgency::News));
    let outcome = applier.apply("voice", plan, &mut Memory::default()).await;
    assert_eq!(outcome.failures.len(), 2);
    drop(applier);
    let asked = server.await.unwrap();
    let patched = asked.iter().filter(|(method, ..)| method == Method::PATCH);
    assert_eq!(patched.count(), 1, "and the status says so");
}

#[tokio::test]
async fn who_does_not_lead_writes_nothing() {
    let election = crate::lease::election::Election::new(
        "a".into(),
        crate::lease::election::Timings::default(),
        Instant::now(),
    );
    let (service, _handle) = mock::pair::<Request<Body>, Response<Body>>();
    let leases = Api::namespaced(Client::new(service, "voice"), "voice");
    let standby = crate::lease::Candidate::new(leases, "lease".into(), election).leadership();
    let (applier, server) = served(standby, |_, _| made("default-0"));
    let mut plan = pods(vec![create("default-0")]);
    plan.statuses.push(trunk_status("carrier-a", Urgency::News));
    let outcome = applier.apply("voice", plan, &mut Memory::default()).await;
    assert_eq!(outcome.failures.len(), 2, "{:?}", outcome.failures);
    drop(applier);
    assert!(server.await.unwrap().is_empty());
}

#[tokio::test]
async fn numbers_and_what_pods_still_take_up_wait_when_there_are_many_and_news_go_first() {
    let (applier, server) = served(Leadership::alone(), |_, _| (200, json!({"metadata": {}})));
    let many = |urgency: Urgency, count| {
        (0..count).map(move |index| trunk_status(&format!("{urgency:?}-{index}"), urgency))
    };
    let waiting = many(Urgency::Numbers, 40).chain(many(Urgency::Interim, 80));
    let sentence = trunk_status("sentence", Urgency::News);
    let plan = Plan { statuses: waiting.chain([sentence]).collect(), ..Plan::default() };
    let mut memory = Memory::default();
    let outcome = applier.apply("voice", plan, &mut memory).await;
    assert_eq!((outcome.deferred, memory.status_written.len()), (30 + 30, 10 + 50 + 1));
    assert_eq!(outcome.again_in(), Some(DEFERRED));
    drop(applier);
    let asked = server.await.unwrap();
    // Some are under way at once.
    let path = "/apis/trunkline.dev/v1alpha1/namespaces/voice/trunks/sentence/status";
    let (_, _, body) =
        asked[..CONCURRENT_STATUSES].iter().find(|(_, asked, _)| asked == path).unwrap();
    assert_eq!(body["metadata"], json!({"name": "sentence", "uid": "9"}), "under the uid it has");
}

#[tokio::test]
async fn a_status_of_what_was_deleted_meanwhile_is_no_failure() {
    let (applier, server) = served(Leadership::alone(), |_, _| {
        refused(404, "NotFound", r#"trunks.trunkline.dev "carrier-a" not found"#)
    });
    let plan = Plan { statuses: vec![trunk_status("carrier-a", Urgency::News)], ..Plan::default() };
    let outcome = applier.apply("voice", plan, &mut Memory::default()).await;
    assert!(outcome.failures.is_empty());
    drop(applier);
    server.await.unwrap();
}
