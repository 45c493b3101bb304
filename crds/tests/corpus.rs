//! Good and bad manifests, each with what must be said of it. The same files go to a real API
//! server elsewhere: verdict, field and (for rules) sentence must be the same there.
//!
//! Above a document, `# expect: FIELD | WORDS` names one problem each; no such line means that
//! the object is taken.

use serde_json::Value;
use trunkline_crds::validate::{validate_object, with_defaults};
use trunkline_crds::{Agent, MediaPool, Trunk};

struct Case {
    file: &'static str,
    object: Value,
    expected: Vec<(String, String)>,
}

fn cases() -> Vec<Case> {
    [
        ("good.yaml", include_str!("corpus/good.yaml")),
        ("trunk.yaml", include_str!("corpus/trunk.yaml")),
        ("agent.yaml", include_str!("corpus/agent.yaml")),
        ("media_pool.yaml", include_str!("corpus/media_pool.yaml")),
    ]
    .into_iter()
    .flat_map(|(file, text)| {
        text.split("\n---\n").map(move |document| Case {
            file,
            object: serde_saphyr::from_str(document).expect("the corpus is YAML"),
            expected: document
                .lines()
                .filter_map(|line| line.strip_prefix("# expect: "))
                .map(|line| line.split_once(" | ").expect("FIELD | WORDS"))
                .map(|(field, words)| (field.to_owned(), words.to_owned()))
                .collect(),
        })
    })
    .collect()
}

#[test]
fn every_manifest_gets_the_verdict_that_stands_above_it() {
    let mut wrong = Vec::new();
    for Case { file, object, mut expected } in cases() {
        let name = format!("{file}: {}", object["metadata"]["name"]);
        for problem in validate_object(&object) {
            let found = expected.iter().position(|(field, words)| {
                *field == problem.field && problem.message.contains(words)
            });
            match found {
                Some(index) => drop(expected.remove(index)),
                None => wrong.push(format!("{name}: not expected: {problem}")),
            }
        }
        for (field, words) in expected {
            wrong.push(format!("{name}: missing: {field} | {words}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_good_manifest_reads_into_its_type_and_back_without_loss() {
    for Case { object, .. } in cases().into_iter().filter(|case| case.file == "good.yaml") {
        let stored = with_defaults(&object).expect("a kind of ours");
        let kind = object["kind"].as_str().expect("a kind");
        let again = match kind {
            "Trunk" => round::<Trunk>(&stored),
            "Agent" => round::<Agent>(&stored),
            _ => round::<MediaPool>(&stored),
        };
        // What the types write is what the API server would store: the same again.
        assert_eq!(
            with_defaults(&again).expect("a kind of ours"),
            stored,
            "{}",
            object["metadata"]["name"]
        );
        assert_eq!(validate_object(&again), [], "{}", object["metadata"]["name"]);
    }
}

fn round<T: serde::de::DeserializeOwned + serde::Serialize>(value: &Value) -> Value {
    let typed: T = serde_json::from_value(value.clone()).expect("a valid object fits its type");
    serde_json::to_value(typed).expect("a type writes JSON")
}

#[test]
fn every_rule_that_can_be_asked_offline_is_broken_by_some_manifest() {
    let said: Vec<String> = cases()
        .iter()
        .flat_map(|case| validate_object(&case.object))
        .map(|problem| problem.message)
        .collect();
    let mut silent = Vec::new();
    for kind in ["Trunk", "Agent", "MediaPool"] {
        walk(trunkline_crds::definitions::schema(kind).expect("ours"), &mut |rule| {
            let message = rule["message"].as_str().expect("every rule has a message");
            let offline = !rule["rule"].as_str().expect("a rule").contains("oldSelf");
            if offline && !said.iter().any(|said| said == message) {
                silent.push(message.to_owned());
            }
        });
    }
    silent.sort();
    silent.dedup();
    assert!(silent.is_empty(), "no manifest breaks: {silent:#?}");
}

fn walk(schema: &Value, visit: &mut impl FnMut(&Value)) {
    schema["x-kubernetes-validations"].as_array().into_iter().flatten().for_each(&mut *visit);
    for child in schema["properties"].as_object().into_iter().flat_map(|map| map.values()) {
        walk(child, visit);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            walk(&schema[key], visit);
        }
    }
}

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    for (name, content) in trunkline_crds::definitions::files() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml").join(&name);
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == content,
            "yaml/{name} is stale: run cargo run -p trunkline-crds --example crdgen"
        );
        // Our own writer is small: an independent reader must see the same.
        let read: Value = serde_saphyr::from_str(&content).expect("YAML");
        let made = trunkline_crds::definitions::all()
            .into_iter()
            .map(|definition| serde_json::to_value(definition).expect("plain data"))
            .find(|definition| definition["metadata"]["name"] == read["metadata"]["name"]);
        assert_eq!(made, Some(read));
    }
}
