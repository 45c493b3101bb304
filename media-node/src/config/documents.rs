//! Files into objects: YAML and JSON, several documents a file, `v1` Lists, and the operator's
//! compressed list. Every object knows the file and the lines it came from.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::Zeroize as _;

use super::Secret;
use super::yaml::{self, Kind, Malformed, Node};

/// What the rendered list may grow to when unpacked, in bytes; packed it is below 1 MiB.
pub const MAX_UNPACKED_LEN_BYTES: u64 = 64 << 20;
/// The namespace of objects that do not name one.
pub const DEFAULT_NAMESPACE: &str = "default";

/// One object of any kind.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: Key,
    pub api_version: String,
    pub body: Body,
    pub source: Source,
}

/// What makes two objects the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug)]
pub enum Body {
    /// Trunk, Agent or MediaPool: the whole object as JSON, not yet checked.
    Api(Arc<Value>),
    Secret(BTreeMap<String, Secret>),
    ConfigMap,
    /// A kind that is nobody's business here (a Namespace, a Service).
    Other,
}

/// Where an object stands.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub file: String,
    /// `None` for the rendered list, whose lines nobody looks at.
    lines: Option<Arc<Node>>,
}

impl Source {
    /// The line of a field, 0 when lines mean nothing.
    pub fn line_of(&self, field: &str) -> usize {
        self.lines.as_ref().map_or(0, |node| node.line_of(field))
    }
}

/// Something wrong with one document, or one object of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: String,
    pub name: String,
    pub namespace: String,
    pub field: String,
    pub message: String,
    pub file: String,
    pub line: usize,
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    pub objects: Vec<Object>,
    /// Documents that are no objects.
    pub problems: Vec<Problem>,
}

/// Reads a hand-written file.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Parsed, Malformed> {
    let mut parsed = Parsed::default();
    for mut document in yaml::parse(bytes)? {
        if let Kind::Mapping(_) = document.kind {
            parsed.document(file, &mut document, true);
        } else {
            parsed.problems.push(Problem {
                kind: "File".into(),
                name: file.into(),
                namespace: String::new(),
                field: String::new(),
                message: "not an object; begin with apiVersion, kind, metadata and spec".into(),
                file: file.into(),
                line: document.line,
            });
        }
    }
    Ok(parsed)
}

/// Reads the operator's `manifests.json.gz`.
pub fn parse_rendered(file: &str, bytes: &[u8]) -> Result<Parsed, Malformed> {
    let malformed = |message: &str| Malformed { line: 0, message: message.to_owned() };
    let mut json = zeroize::Zeroizing::new(Vec::new());
    let len = flate2::read::MultiGzDecoder::new(bytes)
        .take(MAX_UNPACKED_LEN_BYTES + 1)
        .read_to_end(&mut json)
        .map_err(|_| malformed("not gzip, or cut short"))?;
    if len as u64 > MAX_UNPACKED_LEN_BYTES {
        return Err(malformed("unpacks to more than 64 MiB"));
    }
    let value: Value = serde_json::from_slice(&json)
        .map_err(|error| malformed(&format!("not JSON (column {})", error.column())))?;
    let mut parsed = Parsed::default();
    parsed.document(file, &mut Node::from_json(value, 0), false);
    Ok(parsed)
}

impl Parsed {
    fn document(&mut self, file: &str, node: &mut Node, lines: bool) {
        let text = |field: &str| {
            node.get(field).and_then(|e| e.value.text()).unwrap_or_default().to_owned()
        };
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let is_list = kind == "List" || (kind.ends_with("List") && node.get("items").is_some());
        if is_list && node.get("metadata").is_none_or(|e| e.value.get("name").is_none()) {
            let Kind::Mapping(entries) = &mut node.kind else { return };
            let items = entries.iter_mut().find(|e| e.key == "items").map(|e| &mut e.value.kind);
            if let Some(Kind::List(items)) = items {
                items.iter_mut().for_each(|item| self.document(file, item, lines));
            }
            return;
        }
        let metadata = node.get("metadata").map(|entry| &entry.value);
        let of_metadata = |field: &str| {
            metadata.and_then(|m| m.get(field)).and_then(|e| e.value.text()).unwrap_or_default()
        };
        let namespace = match of_metadata("namespace") {
            "" => DEFAULT_NAMESPACE,
            namespace => namespace,
        };
        // A name that the API server would make begins like this.
        let name = match of_metadata("name") {
            "" => of_metadata("generateName"),
            name => name,
        };
        let key = Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        let mut problem = |field: &str, message: String| {
            self.problems.push(Problem {
                kind: if key.kind.is_empty() { "File".into() } else { key.kind.clone() },
                name: if key.kind.is_empty() { file.to_owned() } else { key.name.clone() },
                namespace: key.namespace.clone(),
                field: field.to_owned(),
                message,
                file: file.to_owned(),
                line: if lines { node.line_of(field) } else { 0 },
            });
        };
        if key.kind.is_empty() {
            return problem("kind", "missing; write Trunk, Agent, MediaPool or Secret".into());
        }
        if api_version.is_empty() {
            let write = match key.kind.as_str() {
                "Trunk" | "Agent" | "MediaPool" => trunkline_crds::API_VERSION,
                _ => "v1",
            };
            return problem("apiVersion", format!("missing; write {write}"));
        }
        // With one of the two ours the other is a slip, which the schema's verdict names.
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let ours = group == trunkline_crds::GROUP
            || matches!(key.kind.as_str(), "Trunk" | "Agent" | "MediaPool")
                && !api_version.contains('.');
        if key.name.is_empty() {
            let message = match metadata.and_then(|it| it.get("name")) {
                Some(_) => "not text; put it in quotes",
                None => "missing; give the object a name",
            };
            return problem("metadata.name", message.into());
        }
        let body = match (api_version.as_str(), key.kind.as_str()) {
            ("v1", "Secret") => {
                let (values, bad) = secret_values(node);
                for (field, message) in bad {
                    problem(&field, message);
                }
                wipe(node);
                Body::Secret(values)
            }
            ("v1", "ConfigMap") => Body::ConfigMap,
            _ if ours => Body::Api(Arc::new(node.to_json())),
            _ => Body::Other,
        };
        let lines = (lines && !matches!(body, Body::Other)).then(|| Arc::new(node.clone()));
        let source = Source { file: file.to_owned(), lines };
        self.objects.push(Object { key, api_version, body, source });
    }
}

/// `data` decoded, then `stringData` over it, as an API server does. A value that cannot be read is
/// left out and named.
fn secret_values(node: &Node) -> (BTreeMap<String, Secret>, Vec<(String, String)>) {
    let mut values = BTreeMap::new();
    let mut bad = Vec::new();
    for field in ["data", "stringData"] {
        let Some(entry) = node.get(field) else { continue };
        let Kind::Mapping(entries) = &entry.value.kind else {
            if !matches!(entry.value.kind, Kind::Scalar(Value::Null)) {
                bad.push((field.to_owned(), "write a mapping of keys to values".to_owned()));
            }
            continue;
        };
        for entry in entries {
            let path = format!("{field}.{}", entry.key);
            let Some(text) = entry.value.text() else {
                bad.push((path, "write the value as text; put numbers in quotes".to_owned()));
                continue;
            };
            let bytes = if field == "stringData" {
                text.as_bytes().to_vec()
            } else {
                let mut joined: String = text.split_ascii_whitespace().collect();
                let decoded = STANDARD.decode(&joined);
                joined.zeroize();
                match decoded {
                    Ok(bytes) => bytes,
                    Err(_) => {
                        let message = "not base64; write the value as it is under stringData";
                        bad.push((path, message.to_owned()));
                        continue;
                    }
                }
            };
            values.insert(entry.key.clone(), Secret::new(bytes));
        }
    }
    (values, bad)
}

/// Overwrites the values of a Secret's tree, of which only the lines are still wanted.
fn wipe(node: &mut Node) {
    match &mut node.kind {
        Kind::Scalar(Value::String(text)) => text.zeroize(),
        Kind::Scalar(value) => *value = Value::Null,
        Kind::List(items) => items.iter_mut().for_each(wipe),
        Kind::Mapping(entries) => entries.iter_mut().for_each(|entry| wipe(&mut entry.value)),
    }
}
