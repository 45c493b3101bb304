//! Name, namespace, labels and annotations, as the API server checks them on every object.

use super::schema::{Findings, join, matches, nearest};
use super::{Kind, Problem};
use serde_json::Value;

const KNOWN: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

const SUBDOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const QUALIFIED: &str = "^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$";
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// Removes unknown fields of metadata, and names them.
pub(super) fn take_unknown(object: &mut Value, problems: &mut Vec<Problem>) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
    metadata.retain(|key, _| {
        let known = KNOWN.contains(&key.as_str());
        if !known {
            let message = match nearest(key, KNOWN) {
                Some(near) => format!("unknown field: write {near}, or leave it out"),
                None => "unknown field: known here are name, namespace, labels and annotations"
                    .to_owned(),
            };
            problems.push(Problem { field: join("metadata", key), message, kind: Kind::Unknown });
        }
        known
    });
}

/// Names an object that asks for it, as the API server does: the end would be drawn by lot.
pub(super) fn generate_name(object: &mut Value) {
    const MAX_BEGIN_CHARS: usize = 58;
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
    let generate = text("generateName");
    if text("name").is_empty() && !generate.is_empty() {
        let name: String = generate.chars().take(MAX_BEGIN_CHARS).chain("xxxxx".chars()).collect();
        metadata.insert("name".to_owned(), Value::String(name));
    }
}

pub(super) fn check(object: &Value, findings: &mut Findings) {
    let metadata = match object.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        None | Some(Value::Null) => {
            let message = "is required: write metadata with a name".to_owned();
            findings.blocking(Kind::Metadata, "metadata.name", message);
            return;
        }
        Some(_) => {
            let message = "must be an object: write a name below it".to_owned();
            findings.blocking(Kind::Metadata, "metadata", message);
            return;
        }
    };
    let mut text = |field: &str| match metadata.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => {
            let message = format!("must be a text: write \"{other}\", in quotes");
            findings.blocking(Kind::Metadata, &join("metadata", field), message);
            "x".to_owned()
        }
    };
    let (name, generate, namespace) = (text("name"), text("generateName"), text("namespace"));
    if name.is_empty() && generate.is_empty() {
        let message = "is required: name the object".to_owned();
        findings.blocking(Kind::Metadata, "metadata.name", message);
    } else if !name.is_empty() && !is_name(&name) {
        findings.invalid(Kind::Metadata, "metadata.name", name_message(&name));
    }
    if !generate.is_empty() && !is_name(&begun(&generate)) {
        findings.invalid(Kind::Metadata, "metadata.generateName", name_message(&generate));
    }
    if !namespace.is_empty() && (namespace.len() > 63 || !matches(&namespace, LABEL)) {
        let message = format!(
            "{namespace:?} is no namespace: write at most 63 lower-case letters, digits and -, beginning and ending with a letter or digit"
        );
        findings.invalid(Kind::Metadata, "metadata.namespace", message);
    }
    check_labels(metadata.get("labels"), findings);
    check_annotations(metadata.get("annotations"), findings);
}

fn is_name(text: &str) -> bool {
    text.len() <= 253 && matches(text, SUBDOMAIN)
}

/// How a name may begin whose end is drawn by lot: a dash is fine there.
fn begun(generate: &str) -> String {
    match generate.strip_suffix('-') {
        // The API server puts a letter in place of the last two characters, and so do we.
        Some(rest) if !rest.is_empty() => {
            let kept = rest.chars().count() - 1;
            rest.chars().take(kept).chain(['a']).collect()
        }
        _ => generate.to_owned(),
    }
}

fn name_message(name: &str) -> String {
    format!(
        "{name:?} is no name: write at most 253 lower-case letters, digits, - and ., beginning and ending with a letter or digit"
    )
}

fn check_labels(labels: Option<&Value>, findings: &mut Findings) {
    for (key, value) in texts("metadata.labels", labels, findings) {
        if !is_qualified(&key) {
            findings.invalid(Kind::Metadata, "metadata.labels", key_message(&key));
        }
        if value.len() > 63 || !(value.is_empty() || matches(&value, QUALIFIED)) {
            let message = format!(
                "{value:?} is no value of a label: write at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit"
            );
            findings.invalid(Kind::Metadata, "metadata.labels", message);
        }
    }
}

fn check_annotations(annotations: Option<&Value>, findings: &mut Findings) {
    let mut bytes = 0;
    for (key, value) in texts("metadata.annotations", annotations, findings) {
        bytes += key.len() + value.len();
        if !is_qualified(&key.to_lowercase()) {
            findings.invalid(Kind::Metadata, "metadata.annotations", key_message(&key));
        }
    }
    if bytes > ANNOTATIONS_MAX_BYTES {
        let message = format!("has {bytes} bytes: write at most {ANNOTATIONS_MAX_BYTES}");
        findings.blocking(Kind::Metadata, "metadata.annotations", message);
    }
}

/// The entries of a map of texts; whatever is not a text is a problem.
fn texts(field: &str, map: Option<&Value>, findings: &mut Findings) -> Vec<(String, String)> {
    let entries = match map {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Object(entries)) => entries,
        Some(_) => {
            findings.blocking(Kind::Metadata, field, "must be an object of texts".to_owned());
            return Vec::new();
        }
    };
    let mut pairs = Vec::new();
    for (key, value) in entries {
        match value {
            Value::String(text) => pairs.push((key.clone(), text.clone())),
            Value::Null => pairs.push((key.clone(), String::new())),
            other => {
                let message = format!("{key} must be a text: write \"{other}\", in quotes");
                findings.blocking(Kind::Metadata, field, message);
            }
        }
    }
    pairs
}

fn is_qualified(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(a, b)| (Some(a), b));
    prefix.is_none_or(|prefix| prefix.len() <= 253 && matches(prefix, SUBDOMAIN))
        && (1..=63).contains(&name.len())
        && matches(name, QUALIFIED)
}

fn key_message(key: &str) -> String {
    format!(
        "{key:?} is no key: write at most 63 letters, digits, -, _ and ., with a domain and / in front if need be"
    )
}
