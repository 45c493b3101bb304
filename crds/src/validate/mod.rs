//! The API server's verdict, without an API server.
//!
//! ```text
//!   JSON ─▶ unknown fields ─▶ null is absent, defaults ─▶ metadata, types and sizes, unique keys ─▶ rules
//!           (strict decoding)                              (a wrong type or size stops the rules)
//! ```
//!
//! Same order, same verdict and same field as `kubectl apply` on a cluster; for rules the same
//! sentence. Where the API server stops at unknown fields, this goes on without them, so that a
//! person sees everything at once. Rules that compare with an older object (`oldSelf`) are not
//! asked: there is none.

mod metadata;
mod rules;
mod schema;

use crate::{API_VERSION, GROUP, definitions};
use serde_json::Value;

/// What is wrong with an object, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The field as the API server names it: `spec.routes[0].numbers[1]`.
    pub field: String,
    /// What is wrong and what to write instead. For [`Kind::Rule`] the API server's own sentence.
    pub message: String,
    /// At which step it was found.
    pub kind: Kind,
}

/// The step that found a problem, in the order of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `apiVersion` and `kind` name nothing that we know.
    Type,
    /// A field that does not exist.
    Unknown,
    /// Name, namespace, labels or annotations.
    Metadata,
    /// Type, size, set of values, repeated key.
    Schema,
    /// A rule (CEL) of the definition.
    Rule,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Validates one object, given as it was written. An empty list means that the API server takes it.
///
/// Only Trunk, Agent and MediaPool are known; another `kind` is a problem.
pub fn validate_object(object: &Value) -> Vec<Problem> {
    let root = match find_schema(object) {
        Ok(root) => root,
        Err(problem) => return vec![problem],
    };
    let mut object = object.clone();
    let mut problems = Vec::new();
    schema::whole_numbers(&mut object);

    metadata::take_unknown(&mut object, &mut problems);
    schema::take_unknown(root, &mut object, &mut problems);
    schema::drop_nulls(root, &mut object);
    schema::apply_defaults(root, &mut object);
    if let Some(object) = object.as_object_mut() {
        // What the API server does on create: status is not the user's.
        object.remove("status");
    }
    metadata::generate_name(&mut object);

    let mut findings = schema::Findings::default();
    metadata::check(&object, &mut findings);
    schema::check(root, &object, &mut findings);
    schema::check_unique(root, &object, "", &mut findings);
    let blocked = findings.blocking;
    problems.append(&mut findings.problems);
    if !blocked {
        rules::check(object["kind"].as_str().unwrap_or_default(), &object, &mut problems);
    }
    let mut seen = std::collections::HashSet::new();
    problems.retain(|problem| seen.insert((problem.field.clone(), problem.message.clone())));
    problems
}

/// The object as the API server would store it: unknown fields and `null` gone, schema defaults
/// written out. What deserializes into [`crate::Trunk`], [`crate::Agent`] or
/// [`crate::MediaPool`] after it was validated; `None` for another kind.
pub fn with_defaults(object: &Value) -> Option<Value> {
    let root = find_schema(object).ok()?;
    let mut object = object.clone();
    schema::whole_numbers(&mut object);
    schema::take_unknown(root, &mut object, &mut Vec::new());
    schema::drop_nulls(root, &mut object);
    schema::apply_defaults(root, &mut object);
    Some(object)
}

/// The fields of an object that its schema does not know, as `spec.routes[0].colour`: what a
/// document of a newer version may hold and an older reader ignores.
pub fn unknown_fields(object: &Value) -> Vec<String> {
    let Ok(root) = find_schema(object) else { return Vec::new() };
    let mut problems = Vec::new();
    schema::take_unknown(root, &mut object.clone(), &mut problems);
    problems.into_iter().map(|problem| problem.field).collect()
}

fn find_schema(object: &Value) -> Result<&'static Value, Problem> {
    let problem = |field: &str, message: String| Problem {
        field: field.to_owned(),
        message,
        kind: Kind::Type,
    };
    if !object.is_object() {
        return Err(problem("", "not an object: write apiVersion, kind, metadata and spec".into()));
    }
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let known = ["Trunk", "Agent", "MediaPool"];
    if version != API_VERSION {
        let message = match version {
            "" => format!("is required: write {API_VERSION}"),
            _ if version.split('/').next() == Some(GROUP) => {
                format!("{version:?} is not served: write {API_VERSION}")
            }
            _ if known.contains(&kind) => {
                format!("{kind} belongs to {API_VERSION}, not to {version:?}")
            }
            _ => format!("{version:?} is not known: write {API_VERSION}"),
        };
        return Err(problem("apiVersion", message));
    }
    definitions::schema(kind).ok_or_else(|| {
        let message = match (kind, schema::nearest(kind, known)) {
            ("", _) => "is required: write Trunk, Agent or MediaPool".to_owned(),
            (_, Some(near)) => format!("{kind:?} is not a kind of {API_VERSION}: write {near}"),
            _ => {
                format!("{kind:?} is not a kind of {API_VERSION}: write Trunk, Agent or MediaPool")
            }
        };
        problem("kind", message)
    })
}
