//! The rules of the schema (`x-kubernetes-validations`, in CEL), evaluated as the API server does.
//!
//! The expressions are the ones that the cluster gets. Two functions of Kubernetes are added to
//! CEL's own, `isIP` and `isCIDR`, and `matches` keeps its compiled expressions.

use super::schema::{join, matches};
use super::{Kind, Problem};
use crate::definitions;
use cel::extractors::This;
use cel::objects::{Key, Map};
use cel::{Context, Program, Value as Cel};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// The rules of one place in the schema and below it.
#[derive(Default)]
struct Node {
    rules: Vec<Rule>,
    properties: BTreeMap<String, Self>,
    items: Option<Box<Self>>,
    values: Option<Box<Self>>,
}

struct Rule {
    program: Program,
    message: String,
    /// Where the problem is, below the place of the rule: `.media.encryption`, or nothing.
    field_path: String,
}

/// Asks every rule of the kind, from the root down.
pub(super) fn check(kind: &str, object: &Value, problems: &mut Vec<Problem>) {
    let Some(node) = compiled().get(kind).and_then(Option::as_ref) else { return };
    thread_local! {
        static BASE: Context<'static, 'static> = base();
    }
    BASE.with(|base| check_at(node, object, "", base, problems));
}

fn check_at(
    node: &Node,
    value: &Value,
    path: &str,
    base: &Context<'_, '_>,
    problems: &mut Vec<Problem>,
) {
    if !node.rules.is_empty() {
        let mut scope = base.new_inner_scope();
        scope.add_variable_from_value("self", to_cel(value));
        for rule in &node.rules {
            let message = match rule.program.execute(&scope) {
                Ok(Cel::Bool(true)) => continue,
                Ok(Cel::Bool(false)) => rule.message.clone(),
                Ok(_) => format!("{} (the rule gave no answer)", rule.message),
                Err(error) => format!("{} (the rule could not be asked: {error})", rule.message),
            };
            let field = format!("{path}{}", rule.field_path);
            let field = field.trim_start_matches('.').to_owned();
            problems.push(Problem { field, message, kind: Kind::Rule });
        }
    }
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                if let Some(child_node) = node.properties.get(key) {
                    check_at(child_node, child, &join(path, key), base, problems);
                } else if let Some(child_node) = &node.values {
                    check_at(child_node, child, &format!("{path}[{key}]"), base, problems);
                }
            }
        }
        Value::Array(list) => {
            if let Some(child_node) = &node.items {
                for (index, child) in list.iter().enumerate() {
                    check_at(child_node, child, &format!("{path}[{index}]"), base, problems);
                }
            }
        }
        _ => {}
    }
}

fn compiled() -> &'static HashMap<&'static str, Option<Node>> {
    static COMPILED: OnceLock<HashMap<&'static str, Option<Node>>> = OnceLock::new();
    COMPILED.get_or_init(|| {
        ["Trunk", "Agent", "MediaPool"]
            .into_iter()
            .map(|kind| (kind, definitions::schema(kind).and_then(compile)))
            .collect()
    })
}

/// `None` where neither this place nor any below has a rule.
fn compile(schema: &Value) -> Option<Node> {
    let mut node = Node::default();
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let source = rule["rule"].as_str().unwrap_or_default();
        // A rule about a change: there is no older object to compare with.
        if source.contains("oldSelf") {
            continue;
        }
        let program =
            Program::compile(source).expect("the rules are ours, and a test asks them all");
        node.rules.push(Rule {
            program,
            message: rule["message"].as_str().unwrap_or(source).to_owned(),
            field_path: rule["fieldPath"].as_str().unwrap_or_default().to_owned(),
        });
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(child) = compile(property) {
            node.properties.insert(key.clone(), child);
        }
    }
    node.items = schema.get("items").and_then(compile).map(Box::new);
    node.values = schema.get("additionalProperties").and_then(compile).map(Box::new);
    let quiet = node.rules.is_empty()
        && node.properties.is_empty()
        && node.items.is_none()
        && node.values.is_none();
    (!quiet).then_some(node)
}

fn base() -> Context<'static, 'static> {
    let mut context = Context::default();
    // An error means that CEL brings the function itself, which is as well.
    let _ = context
        .add_function("matches", |This(text): This<Arc<String>>, pattern: Arc<String>| {
            matches(&text, &pattern)
        });
    let _ = context.add_function("isIP", |text: Arc<String>| is_ip(&text));
    let _ = context.add_function("isCIDR", |text: Arc<String>| is_cidr(&text));
    context
}

/// As Kubernetes has it: no zone, no IPv4 address in IPv6 dress.
fn is_ip(text: &str) -> bool {
    match text.parse() {
        Ok(IpAddr::V4(_)) => true,
        Ok(IpAddr::V6(address)) => address.to_ipv4_mapped().is_none(),
        Err(_) => false,
    }
}

/// As Kubernetes has it: bits of the host may be set, the length has no sign and no leading zero.
fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let plain = length.bytes().all(|byte| byte.is_ascii_digit())
        && (length.len() == 1 || !length.starts_with('0'));
    let max = if address.contains(':') { 128 } else { 32 };
    plain && length.parse::<u8>().is_ok_and(|length| length <= max) && is_ip(address)
}

fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(list) => Cel::List(Arc::new(list.iter().map(to_cel).collect())),
        Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(key, value)| (Key::String(Arc::new(key.clone())), to_cel(value)))
                .collect();
            Cel::Map(Map { map: Arc::new(entries) })
        }
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cel::Int(whole),
            None => Cel::Float(number.as_f64().unwrap_or_default()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read_as_the_api_server_does() {
        for good in ["192.0.2.1", "::", "2001:db8::1", "fe80::1"] {
            assert!(is_ip(good), "{good}");
        }
        for bad in
            ["", "192.0.2", "192.0.2.01", "::ffff:192.0.2.1", "fe80::1%eth0", "[::1]", "1.2.3.4 "]
        {
            assert!(!is_ip(bad), "{bad}");
        }
        for good in ["0.0.0.0/0", "192.0.2.1/8", "192.0.2.0/24", "::/0", "2001:db8::/32", "::1/128"]
        {
            assert!(is_cidr(good), "{good}");
        }
        for bad in [
            "192.0.2.0",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.0/08",
            "192.0.2.0/+8",
            "::/129",
            "192.0.2.0/24/1",
            "::ffff:192.0.2.0/120",
        ] {
            assert!(!is_cidr(bad), "{bad}");
        }
    }
}
