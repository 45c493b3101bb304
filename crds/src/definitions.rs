//! The CustomResourceDefinitions as the API server gets them, and as `yaml/` keeps them.

use crate::{Agent, MediaPool, SCHEMA, SCHEMA_ANNOTATION, Trunk};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// All three definitions, in the order Trunk, Agent, MediaPool.
///
/// Use these and not `Trunk::crd()`: here `null` is no way of writing a field (what is not wanted
/// is left out), and a MediaPool needs no `spec`.
pub fn all() -> Vec<CustomResourceDefinition> {
    values()
        .iter()
        .map(|value| {
            serde_json::from_value(value.clone()).expect("a definition reads back as it was made")
        })
        .collect()
}

/// The definitions as files: name and content. A test compares them with `yaml/`.
pub fn files() -> Vec<(String, String)> {
    let head = "# Made from the Rust types: cargo run -p trunkline-crds --example crdgen\n";
    values()
        .iter()
        .map(|value| {
            let plural = value["spec"]["names"]["plural"].as_str().unwrap_or_default();
            (format!("{plural}.yaml"), format!("{head}{}", to_yaml(value)))
        })
        .collect()
}

/// The OpenAPI schema of a kind, rules included; `None` for a kind that is not ours.
pub fn schema(kind: &str) -> Option<&'static Value> {
    values()
        .iter()
        .find(|value| value["spec"]["names"]["kind"] == kind)
        .map(|value| &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
}

fn values() -> &'static [Value] {
    static VALUES: OnceLock<Vec<Value>> = OnceLock::new();
    VALUES.get_or_init(|| [Trunk::crd(), Agent::crd(), MediaPool::crd()].map(finish).to_vec())
}

fn finish(definition: CustomResourceDefinition) -> Value {
    let mut value = serde_json::to_value(definition).expect("a definition is plain data");
    let annotations = json!({ SCHEMA_ANNOTATION: SCHEMA.to_string() });
    value["metadata"]["annotations"] = annotations;
    let pool = value["spec"]["names"]["kind"] == "MediaPool";
    let schema = &mut value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    tidy(schema);
    if pool {
        // Rules about the name stand at the name, so that the problem is found there.
        if let Some(rules) = schema.as_object_mut().and_then(|root| root.remove(RULES)) {
            schema["properties"]["metadata"] = json!({ "type": "object", "properties": { "name": { "type": "string", RULES: rules } } });
        }
        // A pool is its defaults: `/scale` works on one applied without a spec.
        schema["properties"]["spec"]["default"] = json!({});
        if let Some(root) = schema.as_object_mut() {
            root.remove("required");
        }
    }
    value
}

const RULES: &str = "x-kubernetes-validations";

/// Takes away what schemars says of Rust and not of the API: titles, and that an `Option` may be
/// `null` (it is left out).
fn tidy(schema: &mut Value) {
    let Some(node) = schema.as_object_mut() else { return };
    node.remove("nullable");
    if node.get("title").is_some_and(Value::is_string) {
        node.remove("title");
    }
    // Lines of a doc comment are wrapped for the source, not for `kubectl explain`.
    if let Some(Value::String(description)) = node.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if let Some(Value::Array(words)) = node.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = node.get_mut(key) {
            tidy(child);
        }
    }
    if let Some(Value::Object(properties)) = node.get_mut("properties") {
        for child in properties.values_mut() {
            tidy(child);
        }
    }
}

/// Writes block-style YAML. Strings are plain where every YAML reader agrees that they are
/// strings, quoted as JSON otherwise.
fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0),
        other => out.push_str(&scalar(other)),
    }
    out
}

fn write_map(out: &mut String, map: &Map<String, Value>, depth: usize) {
    // Sorted here too: serde_json keeps the order of insertion when any crate of a build asks so.
    let sorted: BTreeMap<_, _> = map.iter().collect();
    for (key, value) in sorted {
        push_indent(out, depth);
        out.push_str(&text(key));
        out.push(':');
        write_after(out, value, depth);
    }
}

/// Writes a value behind `key:`.
fn write_after(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(out, map, depth + 1);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            for item in list {
                push_indent(out, depth);
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        let mut inner = String::new();
                        write_map(&mut inner, map, depth + 1);
                        out.push_str("- ");
                        out.push_str(inner.trim_start());
                    }
                    other => {
                        out.push_str("- ");
                        out.push_str(&scalar(other));
                        out.push('\n');
                    }
                }
            }
        }
        other => {
            out.push(' ');
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn push_indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

fn text(string: &str) -> String {
    let plain = string.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '$')
        && !string.ends_with(' ')
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.ends_with(':')
        && string.chars().all(|c| !c.is_control())
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n", "none"]
            .contains(&string.to_ascii_lowercase().as_str());
    if plain { string.to_owned() } else { Value::from(string).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, schema);
        for (key, child) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{key}"), child, visit);
        }
        for key in ["items", "additionalProperties"] {
            if schema[key].is_object() {
                walk(&format!("{path}[]"), &schema[key], visit);
            }
        }
    }

    fn every_field(visit: &mut impl FnMut(&str, &Value)) {
        for kind in ["Trunk", "Agent", "MediaPool"] {
            let schema = schema(kind).unwrap();
            walk(&format!("{kind}.spec"), &schema["properties"]["spec"], visit);
        }
    }

    #[test]
    fn every_text_and_list_is_bounded() {
        let mut loose = Vec::new();
        every_field(&mut |path, schema| {
            let bounded = match schema["type"].as_str() {
                Some("string") => !schema["maxLength"].is_null() || !schema["enum"].is_null(),
                Some("array") => !schema["maxItems"].is_null(),
                Some("object") if schema["additionalProperties"].is_object() => {
                    !schema["maxProperties"].is_null()
                }
                Some("integer") => !schema["maximum"].is_null() || !schema["enum"].is_null(),
                _ => true,
            };
            // Seconds of a toleration are the cluster's affair and in no rule.
            if !bounded && !path.ends_with("tolerationSeconds") {
                loose.push(path.to_owned());
            }
        });
        assert!(loose.is_empty(), "without a bound: {loose:#?}");
    }

    #[test]
    fn every_field_is_explained() {
        let mut silent = Vec::new();
        every_field(&mut |path, schema| {
            if !path.ends_with("[]") && schema["description"].as_str().is_none_or(str::is_empty) {
                silent.push(path.to_owned());
            }
        });
        assert!(silent.is_empty(), "without a description: {silent:#?}");
    }

    #[test]
    fn every_schema_is_structural() {
        let mut odd = Vec::new();
        every_field(&mut |path, schema| {
            let node = schema.as_object().unwrap();
            let typed = node.contains_key("type")
                || schema["x-kubernetes-int-or-string"] == true
                || schema["x-kubernetes-preserve-unknown-fields"] == true;
            let union = ["oneOf", "allOf", "$ref", "nullable", "title"]
                .iter()
                .any(|key| node.contains_key(*key));
            if !typed || union || (node.contains_key("anyOf") && !path.contains("resources")) {
                odd.push(format!("{path}: {:?}", node.keys().collect::<Vec<_>>()));
            }
        });
        assert!(odd.is_empty(), "not structural: {odd:#?}");
    }

    #[test]
    fn every_rule_has_a_sentence() {
        let mut mute = Vec::new();
        for kind in ["Trunk", "Agent", "MediaPool"] {
            walk(kind, schema(kind).unwrap(), &mut |path, schema| {
                for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                    if rule["message"].as_str().is_none_or(|message| message.len() < 16) {
                        mute.push(format!("{path}: {rule}"));
                    }
                }
            });
        }
        assert!(mute.is_empty(), "without a message: {mute:#?}");
    }

    #[test]
    fn fields_a_preset_may_fill_have_no_schema_default() {
        let mut defaulted = Vec::new();
        walk("", &schema("Trunk").unwrap()["properties"]["spec"], &mut |path, schema| {
            if !schema["default"].is_null() {
                defaulted.push(path.to_owned());
            }
        });
        assert_eq!(
            defaulted,
            [
                ".inbound.clientCARef.key",
                ".outbound.caRef.key",
                ".outbound.registration.expirySeconds",
                ".poolRef",
                ".preset",
                ".routes[].agents[].weight"
            ]
        );
    }

    #[test]
    fn names_are_those_of_the_design() {
        let names: Vec<_> = all()
            .into_iter()
            .map(|crd| (crd.metadata.name.unwrap(), crd.spec.names))
            .map(|(name, names)| {
                (
                    name,
                    names.kind,
                    names.short_names.unwrap_or_default(),
                    names.categories.unwrap_or_default(),
                )
            })
            .collect();
        let category = || vec!["trunkline".to_owned()];
        assert_eq!(
            names,
            [
                ("trunks.trunkline.dev".into(), "Trunk".into(), vec![], category()),
                (
                    "agents.trunkline.dev".into(),
                    "Agent".into(),
                    vec!["vagent".to_owned()],
                    category()
                ),
                (
                    "mediapools.trunkline.dev".into(),
                    "MediaPool".into(),
                    vec!["mpool".to_owned()],
                    category()
                ),
            ]
        );
    }
}
