//! One verdict: what the API server says of a manifest is what `trunkline-media-node check` says of
//! it offline. Same verdict, same fields, for rules the same sentence; and of what is taken, the same
//! stored object, defaults written out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use trunkline_crds::validate::{Kind, Problem, validate_object, with_defaults};
use trunkline_tests::node::workspace;

use crate::bed::Cluster;

/// What examples use of others: not in this cluster.
const ELSEWHERE: [&str; 2] = ["apiVersion: cert-manager.io/v1", "apiVersion: keda.sh/v1alpha1"];

/// An object of a file, as written.
struct Manifest {
    name: String,
    object: Value,
}

fn manifests(folder: &str) -> Vec<Manifest> {
    let mut files = Vec::new();
    collect(&workspace().join(folder), &mut files);
    assert!(!files.is_empty(), "no manifests in {folder}");
    files.into_iter().flat_map(|(file, text)| documents(&file, &text)).collect()
}

fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of manifests") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|it| it == "yaml") {
            let text = fs::read_to_string(&path).expect("a readable manifest");
            files.push((path.display().to_string(), text));
        }
    }
}

fn documents(file: &str, text: &str) -> Vec<Manifest> {
    text.split("\n---\n")
        .map(|document| {
            let object: Value = serde_saphyr::from_str(document).expect("YAML");
            let name = format!("{file}: {}", object["metadata"]["name"]);
            Manifest { name, object }
        })
        .filter(|it| it.object["apiVersion"].as_str().is_some_and(|it| it.starts_with("trunkline")))
        .collect()
}

/// Why an object was refused: the fields, each with the server's words.
#[derive(Debug, Default)]
struct Refusal {
    fields: Vec<(String, String)>,
    message: String,
}

/// What the API server says of an object, and what it would store.
///
/// `validation` is `Strict`, as `kubectl` asks, or `Ignore`, which passes over unknown fields.
fn server(cluster: &Cluster, object: &Value, validation: &str) -> Result<Value, Refusal> {
    let plural = format!("{}s", object["kind"].as_str().unwrap_or_default().to_lowercase());
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let path = format!(
        "/apis/{}/namespaces/{namespace}/{plural}?dryRun=All&fieldValidation={validation}",
        object["apiVersion"].as_str().unwrap_or_default()
    );
    let (status, answer) = cluster.request("POST", &path, object);
    if status == 201 {
        return Ok(answer);
    }
    let message = answer["message"].as_str().unwrap_or_default().to_owned();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = answer["details"]["causes"].as_array();
    let fields = causes.into_iter().flatten().map(|it| {
        let (field, words) = (text(&it["field"]), text(&it["message"]));
        let field = match words
            .strip_prefix("Invalid value: \"\": Checked value must be of type ")
            .and_then(|it| it.split_once(" in "))
        {
            // A number that does not fit its bits: here the field stands in the words alone.
            Some((_, field)) => field.to_owned(),
            // What checks `/scale` names the field as its path is written there: `.spec.replicas`.
            None => field.trim_start_matches('.').to_owned(),
        };
        (field, words)
    });
    // Said beside every wrong type: rules were not asked. What is wrong stands in the other causes.
    let fields = fields.filter(|(_, words)| !words.contains("some validation rules were not"));
    // Metadata is read into a type of Go before anything else: what does not fit has no cause.
    let undecoded = message.split_once("Go struct field ObjectMeta.").map(|(_, rest)| {
        let field = rest.split(' ').next().unwrap_or_default();
        (format!("metadata.{field}"), message.clone())
    });
    Err(Refusal { fields: fields.chain(undecoded).collect(), message })
}

/// Fields that strict decoding does not know, of `… unknown field "spec.a", unknown field "spec.b"`.
fn unknown_of(message: &str) -> BTreeSet<String> {
    let quoted = message.split("unknown field \"").skip(1);
    quoted.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// Where the server and the offline check differ; nothing, where they do not.
fn differences(cluster: &Cluster, object: &Value) -> Vec<String> {
    let offline = validate_object(object);
    let (unknown, known): (Vec<_>, Vec<_>) =
        offline.into_iter().partition(|problem| problem.kind == Kind::Unknown);
    let mut differences = Vec::new();

    if !unknown.is_empty() {
        let ours: BTreeSet<_> = unknown.iter().map(|problem| problem.field.clone()).collect();
        let theirs = match server(cluster, object, "Strict") {
            Ok(_) => BTreeSet::new(),
            Err(refusal) => unknown_of(&refusal.message),
        };
        if ours != theirs {
            differences.push(format!("unknown fields: offline {ours:?}, server {theirs:?}"));
        }
    }
    // The server stops at unknown fields, the offline check goes on without them: so does this.
    let validation = if unknown.is_empty() { "Strict" } else { "Ignore" };
    match server(cluster, object, validation) {
        Ok(stored) if known.is_empty() => {
            let ours = with_defaults(object).map(|it| it["spec"].clone()).unwrap_or_default();
            if ours != stored["spec"] {
                differences.push(format!("stored: offline {ours}, server {}", stored["spec"]));
            }
        }
        Ok(_) => differences.push(format!("the server takes it, offline: {}", said(&known))),
        Err(refusal) if known.is_empty() => {
            differences.push(format!("offline takes it, the server: {}", refusal.message));
        }
        Err(refusal) => differences.extend(compare(&known, &refusal)),
    }
    differences
}

fn compare(offline: &[Problem], server: &Refusal) -> Vec<String> {
    let ours: BTreeSet<_> = offline.iter().map(|problem| problem.field.as_str()).collect();
    let theirs: BTreeSet<_> = server.fields.iter().map(|(field, _)| field.as_str()).collect();
    if ours != theirs {
        return vec![format!("offline: {}; the server: {}", said(offline), server.message)];
    }
    let sentence = |problem: &&Problem| {
        let said = format!(": {}", problem.message);
        server.fields.iter().any(|(field, words)| {
            *field == problem.field && (words.ends_with(&said) || *words == problem.message)
        })
    };
    let rules = offline.iter().filter(|problem| problem.kind == Kind::Rule);
    rules
        .filter(|problem| !sentence(problem))
        .map(|problem| format!("not the server's words: {problem}; {:?}", server.fields))
        .collect()
}

fn said(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The namespaces that manifests name: even a dry run wants them.
fn make_namespaces(cluster: &Cluster, manifests: &[Manifest]) {
    let named = manifests.iter().filter_map(|it| it.object["metadata"]["namespace"].as_str());
    for name in named.collect::<BTreeSet<_>>() {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let (status, answer) = cluster.request("POST", "/api/v1/namespaces", &object);
        assert!(status == 201 || status == 409, "{answer}");
    }
}

fn assert_none(what: &str, asked: usize, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}: {} of {asked} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_server_says_of_every_manifest_of_the_corpus_what_check_says() {
    let cluster = Cluster::shared();
    let manifests = manifests("crds/tests/corpus");
    make_namespaces(cluster, &manifests);
    let mut wrong = Vec::new();
    for Manifest { name, object } in &manifests {
        let found = if validate_object(object).iter().any(|it| it.kind == Kind::Type) {
            // Another version has no address at the server, and kubectl says so; another kind it
            // forgives when only the case is wrong, and the server does not.
            let arguments = ["create", "--dry-run=server", "--filename=-"];
            match cluster.try_kubectl(&arguments, &object.to_string()) {
                Ok(_) => vec!["the server takes it".to_owned()],
                Err(words) if words.contains("no matches for kind") => Vec::new(),
                Err(words) if words.contains("is invalid: kind: Invalid value") => Vec::new(),
                Err(words) => vec![words],
            }
        } else {
            differences(cluster, object)
        };
        wrong.extend(found.into_iter().map(|difference| format!("{name}: {difference}")));
    }
    assert_none("corpus", manifests.len(), &wrong);
}

#[test]
fn the_server_takes_every_example_as_check_does() {
    let cluster = Cluster::shared();
    let manifests = manifests("examples");
    make_namespaces(cluster, &manifests);
    for Manifest { name, object } in &manifests {
        assert_eq!(validate_object(object), [], "{name}");
        assert_eq!(differences(cluster, object), Vec::<String>::new(), "{name}");
    }
    // As a user does it, Secrets and all.
    let mut files = Vec::new();
    collect(&workspace().join("examples"), &mut files);
    let known = |document: &&str| !ELSEWHERE.iter().any(|api| document.contains(api));
    let all: Vec<_> = files.iter().flat_map(|(_, text)| text.split("\n---\n")).collect();
    let all = all.iter().copied().filter(known).collect::<Vec<_>>().join("\n---\n");
    for side in ["--server-side=false", "--server-side=true"] {
        let arguments = ["apply", side, "--dry-run=server", "--filename=-"];
        cluster.try_kubectl(&arguments, &all).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Puts something else at every place of every good manifest, one at a time: what the corpus did
/// not think of.
#[test]
fn the_server_says_of_every_small_mistake_what_check_says() {
    let cluster = Cluster::shared();
    let good: Vec<_> = manifests("crds/tests/corpus")
        .into_iter()
        .filter(|it| it.name.contains("good.yaml"))
        .collect();
    make_namespaces(cluster, &good);
    let (mut asked, mut wrong) = (0, Vec::new());
    for Manifest { name, object } in &good {
        let mut places = Vec::new();
        find_places(object, String::new(), &mut places);
        for place in places {
            for change in changes() {
                let mut changed = object.clone();
                let value = changed.pointer_mut(&place).expect("found in this object");
                if *value == change {
                    continue;
                }
                *value = change.clone();
                asked += 1;
                for difference in differences(cluster, &changed) {
                    wrong.push(format!("{name} with {change} at {place}: {difference}"));
                }
            }
        }
    }
    assert_none("small mistakes", asked, &wrong);
}

/// JSON pointers to everything below `metadata` and `spec`, but the namespace, which is no matter
/// of the object alone.
fn find_places(value: &Value, path: String, places: &mut Vec<String>) {
    if path.starts_with("/metadata/") || path.starts_with("/spec/") {
        places.push(path.clone());
    }
    let mut below = |key: &str, child| {
        if key != "namespace" {
            let key = key.replace('~', "~0").replace('/', "~1");
            find_places(child, format!("{path}/{key}"), places);
        }
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, child)| below(key, child)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(nth, child)| below(&nth.to_string(), child));
        }
        _ => {}
    }
}

fn changes() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(4_000_000_000_u64),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("8000"),
        json!("a b\n"),
        json!("x".repeat(5000)),
        json!([]),
        json!([null]),
        json!(["x", "x"]),
        json!({}),
        json!({"x": null}),
        json!({"x": "y"}),
        json!({"name": "x", "key": "y"}),
    ]
}
