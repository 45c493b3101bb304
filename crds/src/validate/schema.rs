//! Types, sizes and defaults, as the API server reads the structural schema.

use super::{Kind, Problem};
use regex::Regex;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::HashMap;

/// What was found, and whether the API server would stop before its rules.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) blocking: bool,
}

impl Findings {
    /// A value of the right type that is not allowed: the rules are still asked.
    pub(super) fn invalid(&mut self, kind: Kind, field: &str, message: String) {
        self.problems.push(Problem { field: field.to_owned(), message, kind });
    }

    /// A wrong type or size, or nothing where something is required: the rules could not run.
    pub(super) fn blocking(&mut self, kind: Kind, field: &str, message: String) {
        self.blocking = true;
        self.invalid(kind, field, message);
    }
}

/// Removes what the schema does not know, and names it.
pub(super) fn take_unknown(root: &Value, object: &mut Value, problems: &mut Vec<Problem>) {
    take_unknown_at(root, object, "", problems);
}

fn take_unknown_at(schema: &Value, value: &mut Value, path: &str, problems: &mut Vec<Problem>) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    match value {
        Value::Object(map) => {
            let properties = schema["properties"].as_object();
            if schema["additionalProperties"].is_object() {
                for (key, child) in map.iter_mut() {
                    let child_path = join(path, key);
                    take_unknown_at(&schema["additionalProperties"], child, &child_path, problems);
                }
                return;
            }
            map.retain(|key, child| {
                let child_path = join(path, key);
                if path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&key.as_str()) {
                    return true;
                }
                let Some(child_schema) = properties.and_then(|known| known.get(key)) else {
                    problems.push(Problem {
                        message: unknown_message(key, properties),
                        field: child_path,
                        kind: Kind::Unknown,
                    });
                    return false;
                };
                take_unknown_at(child_schema, child, &child_path, problems);
                true
            });
        }
        Value::Array(list) => {
            for (index, child) in list.iter_mut().enumerate() {
                take_unknown_at(&schema["items"], child, &format!("{path}[{index}]"), problems);
            }
        }
        _ => {}
    }
}

fn unknown_message(key: &str, known: Option<&Map<String, Value>>) -> String {
    let Some(known) = known.filter(|known| !known.is_empty()) else {
        return "unknown field: nothing can be written here".to_owned();
    };
    let names = || known.keys().map(String::as_str);
    match nearest(key, names()) {
        Some(near) => format!("unknown field: write {near}, or leave it out"),
        None => {
            let names: Vec<_> = names().collect();
            format!("unknown field: known here are {}", names.join(", "))
        }
    }
}

/// The known word that was probably meant: the same but for case and dashes, or two letters away.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.replace(['-', '_', '.'], "").to_lowercase();
    let word = plain(word);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance * 3 < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let next = (diagonal + usize::from(x != *y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            left = next;
            *cell = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Writes 20.0 as 20, as `kubectl` does on the way from YAML to JSON.
pub(super) fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() < 1e15) {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// `null` in a map means that the field is not written, unless a default takes its place.
pub(super) fn drop_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|key, child| {
            let child_schema = child_schema(schema, key);
            if child.is_null() && child_schema.is_some_and(|schema| schema["default"].is_null()) {
                return false;
            }
            if let Some(child_schema) = child_schema {
                drop_nulls(child_schema, child);
            }
            true
        }),
        Value::Array(list) => list.iter_mut().for_each(|child| drop_nulls(&schema["items"], child)),
        _ => {}
    }
}

fn child_schema<'s>(schema: &'s Value, key: &str) -> Option<&'s Value> {
    let property = schema.get("properties").and_then(|properties| properties.get(key));
    property.or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()))
}

/// Writes out the defaults, outside in: a default object gets the defaults of its own fields.
pub(super) fn apply_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                let default = &property["default"];
                if !default.is_null() && map.get(key).is_none_or(Value::is_null) {
                    map.insert(key.clone(), default.clone());
                }
            }
            for (key, child) in map.iter_mut() {
                if let Some(child_schema) = child_schema(schema, key) {
                    apply_defaults(child_schema, child);
                }
            }
        }
        Value::Array(list) => {
            list.iter_mut().for_each(|child| apply_defaults(&schema["items"], child));
        }
        _ => {}
    }
}

/// Checks types, sizes, required fields, sets of values and patterns of the whole object.
pub(super) fn check(root: &Value, object: &Value, findings: &mut Findings) {
    check_at(root, object, "", findings);
}

fn check_at(schema: &Value, value: &Value, path: &str, findings: &mut Findings) {
    if !has_type(schema, value) {
        findings.blocking(Kind::Schema, path, type_message(schema, value));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        findings.blocking(Kind::Schema, path, enum_message(words, value));
    }
    match value {
        Value::String(text) => check_text(schema, text, path, findings),
        Value::Number(number) => check_number(schema, number, path, findings),
        Value::Array(list) => check_list(schema, list, path, findings),
        Value::Object(map) => check_map(schema, map, path, findings),
        Value::Null | Value::Bool(_) => {}
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_string() || is_integer(value);
    }
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => is_integer(value),
        Some("number") => value.is_number(),
        _ => true,
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64()
}

fn type_message(schema: &Value, value: &Value) -> String {
    let wanted = match schema["type"].as_str() {
        _ if schema["x-kubernetes-int-or-string"] == true => "a number or a text",
        Some("object") => "an object (name: value, indented)",
        Some("array") => "a list",
        Some("string") => "a text",
        Some("boolean") => "true or false",
        Some("integer") => "a whole number",
        _ => "a number",
    };
    let given = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let hint = match (schema["type"].as_str(), value) {
        (Some("string"), Value::Number(_) | Value::Bool(_)) => {
            format!(": write \"{value}\", in quotes")
        }
        (Some("integer"), Value::String(text)) if text.parse::<i64>().is_ok() => {
            format!(": write {text}, without quotes")
        }
        (Some("array"), Value::String(_)) => ": write it in brackets, [ and ]".to_owned(),
        _ => String::new(),
    };
    format!("must be {wanted}, not {given}{hint}")
}

fn enum_message(words: &[Value], value: &Value) -> String {
    let plain = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
    let near = value
        .as_str()
        .and_then(|text| nearest(text, words.iter().filter_map(Value::as_str)))
        .map(|near| format!("; {near} is near"))
        .unwrap_or_default();
    let words: Vec<_> = words.iter().map(plain).collect();
    format!("{} is not one of its values: write {}{near}", short(value), or_list(&words))
}

fn or_list(words: &[String]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A value for a message: never long.
fn short(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn check_text(schema: &Value, text: &str, path: &str, findings: &mut Findings) {
    let length = text.chars().count() as u64;
    if let Some(max) = schema["maxLength"].as_u64().filter(|max| length > *max) {
        findings.blocking(
            Kind::Schema,
            path,
            format!("has {length} characters: write at most {max}"),
        );
    }
    if let Some(min) = schema["minLength"].as_u64().filter(|min| length < *min) {
        let message = match text {
            "" => "is empty: write a value, or leave the field out".to_owned(),
            _ => format!("has {length} characters: write at least {min}"),
        };
        findings.invalid(Kind::Schema, path, message);
    }
    if let Some(pattern) = schema["pattern"].as_str().filter(|pattern| !matches(text, pattern)) {
        let message = match schema["x-kubernetes-int-or-string"] == true {
            true => {
                "is no amount: write a number with a suffix if need be, as 2, 500m or 1Gi".into()
            }
            false => format!("does not match {pattern}"),
        };
        findings.invalid(Kind::Schema, path, message);
    }
}

fn check_number(schema: &Value, number: &serde_json::Number, path: &str, findings: &mut Findings) {
    let Some(value) = number.as_f64() else { return };
    if let Some(max) = schema["maximum"].as_f64().filter(|max| value > *max) {
        findings.invalid(Kind::Schema, path, format!("{number} is too much: write at most {max}"));
    }
    if let Some(min) = schema["minimum"].as_f64().filter(|min| value < *min) {
        findings.invalid(
            Kind::Schema,
            path,
            format!("{number} is too little: write at least {min}"),
        );
    }
}

fn check_list(schema: &Value, list: &[Value], path: &str, findings: &mut Findings) {
    let length = list.len() as u64;
    if let Some(max) = schema["maxItems"].as_u64().filter(|max| length > *max) {
        findings.blocking(Kind::Schema, path, format!("has {length} items: write at most {max}"));
    }
    if let Some(min) = schema["minItems"].as_u64().filter(|min| length < *min) {
        let message = match length {
            0 => "is empty: write at least one item, or leave the field out".to_owned(),
            _ => format!("has {length} items: write at least {min}"),
        };
        findings.invalid(Kind::Schema, path, message);
    }
    if schema["items"].is_object() {
        for (index, item) in list.iter().enumerate() {
            check_at(&schema["items"], item, &format!("{path}[{index}]"), findings);
        }
    }
}

fn check_map(schema: &Value, map: &Map<String, Value>, path: &str, findings: &mut Findings) {
    let length = map.len() as u64;
    if let Some(max) = schema["maxProperties"].as_u64().filter(|max| length > *max) {
        findings.blocking(Kind::Schema, path, format!("has {length} entries: write at most {max}"));
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(key) {
            let description = schema["properties"][key]["description"].as_str().unwrap_or_default();
            findings.blocking(Kind::Schema, &join(path, key), required_message(description));
        }
    }
    for (key, child) in map {
        // The API server checks metadata by other means.
        if path.is_empty() && key == "metadata" {
            continue;
        }
        if let Some(child_schema) = child_schema(schema, key) {
            check_at(child_schema, child, &join(path, key), findings);
        }
    }
}

fn required_message(description: &str) -> String {
    match description.split(". ").next().map(|sentence| sentence.trim_end_matches('.')) {
        Some(sentence) if !sentence.is_empty() => format!("is required ({sentence})"),
        _ => "is required".to_owned(),
    }
}

/// Checks `x-kubernetes-list-type` set and map: no item, and no key, twice.
pub(super) fn check_unique(schema: &Value, value: &Value, path: &str, findings: &mut Findings) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                if let Some(child_schema) = child_schema(schema, key) {
                    check_unique(child_schema, child, &join(path, key), findings);
                }
            }
        }
        Value::Array(list) => {
            let key = match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => Some(None),
                Some("map") => schema["x-kubernetes-list-map-keys"][0].as_str().map(Some),
                _ => None,
            };
            if let Some(key) = key {
                check_list_keys(key, list, path, findings);
            }
            for (index, item) in list.iter().enumerate() {
                check_unique(&schema["items"], item, &format!("{path}[{index}]"), findings);
            }
        }
        _ => {}
    }
}

/// Names the second of equal items; the API server says nothing more of a third.
fn check_list_keys(key: Option<&str>, list: &[Value], path: &str, findings: &mut Findings) {
    if key.is_some() && list.iter().any(|item| !item.is_object() && !item.is_null()) {
        return;
    }
    let mut seen: HashMap<String, u32> = HashMap::new();
    for (index, item) in list.iter().enumerate() {
        let value = match key {
            Some(key) => item.get(key).map_or_else(String::new, Value::to_string),
            None => item.to_string(),
        };
        let times = seen.entry(value.clone()).or_insert(0);
        *times += 1;
        if *times == 2 {
            let value = cut(&value);
            let message = match key {
                Some(key) => format!(
                    "{key} {value} stands in this list twice: write another, or merge the two"
                ),
                None => format!("{value} stands in this list twice: leave one out"),
            };
            findings.invalid(Kind::Schema, &format!("{path}[{index}]"), message);
        }
    }
}

/// Whether some part of the text matches. The expressions are ours, written for both engines
/// (RE2 in the API server, `regex` here): no `\d`, `\w` or `\b`, which differ beyond ASCII.
pub(super) fn matches(text: &str, pattern: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Option<Regex>>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        if !compiled.contains_key(pattern) {
            compiled.insert(pattern.to_owned(), Regex::new(pattern).ok());
        }
        compiled.get(pattern).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(text))
    })
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
