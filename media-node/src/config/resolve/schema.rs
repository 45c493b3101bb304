//! The API server's own verdict on an object, asked offline.

use std::borrow::Cow;

use serde_json::Value;
use trunkline_crds::validate::{self, Kind};

use super::Fault;

/// An object that schema and rules accept, with the schema's defaults written out, and the fields
/// that were passed over.
pub(super) struct Accepted {
    pub(super) object: Value,
    pub(super) unknown: Vec<String>,
}

/// `lenient` passes over fields that are not in the schema, for a document of a newer one.
pub(super) fn accept(object: &Value, lenient: bool) -> Result<Accepted, Vec<Fault>> {
    let (unknown, problems): (Vec<_>, Vec<_>) = validate::validate_object(object)
        .into_iter()
        .partition(|problem| lenient && problem.kind == Kind::Unknown);
    if !problems.is_empty() {
        return Err(problems.into_iter().map(|it| fault(it, object)).collect());
    }
    match validate::with_defaults(object) {
        Some(object) => {
            Ok(Accepted { object, unknown: unknown.into_iter().map(|it| it.field).collect() })
        }
        None => Err(vec![Fault::new("kind", "write Trunk, Agent or MediaPool")]),
    }
}

fn fault(problem: validate::Problem, object: &Value) -> Fault {
    let message = match unquoted(&problem, object) {
        Some(hint) => Cow::Owned(format!("{}; {hint}", problem.message)),
        None => Cow::Borrowed(problem.message.as_str()),
    };
    Fault { message: message.into_owned(), field: problem.field }
}

/// The commonest slip in YAML: `+15551230001`, `44` and `no` without quotes are no text.
fn unquoted(problem: &validate::Problem, object: &Value) -> Option<&'static str> {
    let wants_text = problem.kind == Kind::Schema && problem.message.contains("string");
    let value = at(object, &problem.field)?;
    if !wants_text || problem.message.contains("quote") {
        return None;
    }
    match value {
        Value::Number(_) => Some("a number must stand in quotes here"),
        Value::Bool(_) => Some("yes, no, on, off, true and false must stand in quotes here"),
        _ => None,
    }
}

fn at<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    let mut value = object;
    for part in field.split('.') {
        let (key, indices) = part.split_once('[').unwrap_or((part, ""));
        value = value.get(key)?;
        for index in indices.split('[').filter(|it| !it.is_empty()) {
            value = value.get(index.trim_end_matches(']').parse::<usize>().ok()?)?;
        }
    }
    Some(value)
}
