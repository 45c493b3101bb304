//! YAML and JSON as trees that remember their lines.
//!
//! The parser is `saphyr-parser`, which yields events with positions; what a plain word means
//! follows the YAML that `kubectl` reads (`yes` and `on` are booleans, `0x10` and `1_000` are
//! numbers), so that `check` and an API server agree. JSON is YAML's flow style. Anchors, aliases
//! and merge keys work, but what they unfold to counts against the same limits as what is written.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

/// The largest hand-written file, in bytes.
pub const MAX_FILE_LEN_BYTES: usize = 8 << 20;
/// Values of one file, those an alias repeats included.
pub const MAX_NODES: usize = 1_000_000;
/// Text of one file after aliases are unfolded, in bytes.
pub const MAX_TEXT_LEN_BYTES: usize = 32 << 20;
/// Lists and mappings inside each other.
pub const MAX_DEPTH: usize = 64;

/// A file that is not YAML, or goes past a limit. Never quotes the file, which may hold passwords.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Malformed {
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

/// A value and the line it begins on (counted from 1).
#[derive(Clone, Debug)]
pub struct Node {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    /// In the order written, keys unique.
    Mapping(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    /// Where the key stands.
    pub line: usize,
    pub value: Node,
}

impl Node {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The same tree without lines.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Mapping(entries) => Value::Object(
                entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// A tree without lines of its own: every node stands on `line`.
    pub fn from_json(value: Value, line: usize) -> Self {
        let kind = match value {
            Value::Array(items) => {
                Kind::List(items.into_iter().map(|item| Self::from_json(item, line)).collect())
            }
            Value::Object(map) => Kind::Mapping(
                map.into_iter()
                    .map(|(key, value)| Entry { key, line, value: Self::from_json(value, line) })
                    .collect(),
            ),
            scalar => Kind::Scalar(scalar),
        };
        Self { line, kind }
    }

    /// The line of `spec.routes[1].numbers[0]`: of its key or list item; where the path leads
    /// nowhere, of the last part that is there.
    pub fn line_of(&self, path: &str) -> usize {
        let mut node = self;
        let mut line = self.line;
        let mut rest = path;
        while !rest.is_empty() {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            if let Some(inner) = rest.strip_prefix('[') {
                let Some((index, after)) = inner.split_once(']') else { break };
                rest = after;
                let index = index.trim_matches(['"', '\'']);
                match (&node.kind, index.parse::<usize>()) {
                    (Kind::List(items), Ok(index)) => {
                        let Some(item) = items.get(index) else { break };
                        (node, line) = (item, item.line);
                    }
                    // A list keyed by name, `routes[support]`, or a mapping, `variables["a.b"]`.
                    (Kind::List(items), Err(_)) => {
                        let Some(item) = items.iter().find(|item| {
                            item.get("name").and_then(|e| e.value.text()) == Some(index)
                        }) else {
                            break;
                        };
                        (node, line) = (item, item.line);
                    }
                    _ => {
                        let Some(entry) = node.get(index) else { break };
                        (node, line) = (&entry.value, entry.line);
                    }
                }
                continue;
            }
            // Keys may hold dots (`metadata.annotations.example.com/note`): the longest that fits.
            let Kind::Mapping(entries) = &node.kind else { break };
            let fits = entries
                .iter()
                .filter(|entry| {
                    rest.strip_prefix(entry.key.as_str())
                        .is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
                })
                .max_by_key(|entry| entry.key.len());
            let Some(entry) = fits else { break };
            rest = rest.get(entry.key.len()..).unwrap_or_default();
            (node, line) = (&entry.value, entry.line);
        }
        line
    }
}

/// Every document of a file; empty ones are passed over.
pub fn parse(bytes: &[u8]) -> Result<Vec<Node>, Malformed> {
    let at = |line, message: String| Malformed { line, message };
    if bytes.len() > MAX_FILE_LEN_BYTES {
        return Err(at(1, format!("larger than {} MiB; split it", MAX_FILE_LEN_BYTES >> 20)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        at(1 + before.iter().filter(|b| **b == b'\n').count(), "not UTF-8 text".into())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);

    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| {
            at(error.marker().line().max(1), format!("not YAML: {}", error.info()))
        })?;
        builder.event(event, span)?;
    }
    Ok(builder.documents)
}

/// A list or mapping that has begun and not ended.
struct Open {
    anchor: usize,
    line: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        seen: HashMap<String, usize>,
        key: Option<(String, usize)>,
        merges: Vec<Node>,
    },
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, Size)>,
    used: Size,
}

#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text_len_bytes: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Malformed> {
        let line = span.start.line().max(1);
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(malformed(line, "an alias of something that is not complete yet"));
                };
                self.count(line, size)?;
                self.place(line, Node { line, ..node })?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let size = Size { nodes: 1, text_len_bytes: text.len() };
                self.count(line, size)?;
                if let Some(Open { items: Items::Mapping { key: key @ None, seen, .. }, .. }) =
                    self.open.last_mut()
                {
                    if text == "<<" && style == ScalarStyle::Plain {
                        *key = Some((text.into_owned(), line));
                        return Ok(());
                    }
                    if let Some(first) = seen.insert(text.to_string(), line) {
                        let message = format!(
                            "the key {} is here twice (first in line {first}); keep one",
                            shown(&text)
                        );
                        return Err(Malformed { line, message });
                    }
                    *key = Some((text.into_owned(), line));
                    return Ok(());
                }
                let value = scalar(&text, style, tag.as_deref(), line)?;
                let node = Node { line, kind: Kind::Scalar(value) };
                if anchor > 0 {
                    self.anchors.insert(anchor, (node.clone(), size));
                }
                self.place(line, node)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.begin(line, anchor, Items::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, _) => {
                let items = Items::Mapping {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                    merges: Vec::new(),
                };
                self.begin(line, anchor, items)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(&mut self, line: usize, anchor: usize, items: Items) -> Result<(), Malformed> {
        if let Some(Open { items: Items::Mapping { key: None, .. }, .. }) = self.open.last() {
            return Err(malformed(line, "a key must be a word, not a list or a mapping"));
        }
        if self.open.len() >= MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} lists and mappings inside each other");
            return Err(Malformed { line, message });
        }
        self.count(line, Size { nodes: 1, text_len_bytes: 0 })?;
        self.open.push(Open { anchor, line, items });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Malformed> {
        let Some(Open { anchor, line, items }) = self.open.pop() else { return Ok(()) };
        let kind = match items {
            Items::List(items) => Kind::List(items),
            Items::Mapping { mut entries, mut seen, merges, .. } => {
                // What is written wins over what is merged, an earlier merge over a later one.
                for merged in merges {
                    let Kind::Mapping(more) = merged.kind else { continue };
                    for entry in more {
                        if seen.insert(entry.key.clone(), entry.line).is_none() {
                            entries.push(entry);
                        }
                    }
                }
                Kind::Mapping(entries)
            }
        };
        let node = Node { line, kind };
        if anchor > 0 {
            let size = measure(&node);
            // The copy kept for later aliases is memory as well.
            self.count(line, size)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        self.place(line, node)
    }

    fn place(&mut self, line: usize, node: Node) -> Result<(), Malformed> {
        match self.open.last_mut().map(|open| &mut open.items) {
            None => {
                if !matches!(node.kind, Kind::Scalar(Value::Null)) {
                    self.documents.push(node);
                }
            }
            Some(Items::List(items)) => items.push(node),
            Some(Items::Mapping { entries, key, merges, .. }) => match key.take() {
                Some((key, _)) if key == "<<" => match node.kind {
                    Kind::Mapping(_) => merges.push(node),
                    Kind::List(list) if list.iter().all(|n| matches!(n.kind, Kind::Mapping(_))) => {
                        merges.extend(list);
                    }
                    _ => return Err(malformed(line, "<< takes a mapping or a list of mappings")),
                },
                Some((key, line)) => entries.push(Entry { key, line, value: node }),
                // An alias or a null where a key should be.
                None => return Err(malformed(line, "a key must be a word")),
            },
        }
        Ok(())
    }

    fn count(&mut self, line: usize, size: Size) -> Result<(), Malformed> {
        self.used.nodes = self.used.nodes.saturating_add(size.nodes);
        self.used.text_len_bytes = self.used.text_len_bytes.saturating_add(size.text_len_bytes);
        if self.used.nodes > MAX_NODES || self.used.text_len_bytes > MAX_TEXT_LEN_BYTES {
            return Err(malformed(line, "too large once its aliases are unfolded; split the file"));
        }
        Ok(())
    }
}

fn malformed(line: usize, message: &str) -> Malformed {
    Malformed { line, message: message.to_owned() }
}

fn measure(node: &Node) -> Size {
    let mut size = Size { nodes: 1, text_len_bytes: 0 };
    let mut add = |more: Size| {
        size.nodes += more.nodes;
        size.text_len_bytes += more.text_len_bytes;
    };
    match &node.kind {
        Kind::Scalar(Value::String(text)) => add(Size { nodes: 0, text_len_bytes: text.len() }),
        Kind::Scalar(_) => {}
        Kind::List(items) => items.iter().for_each(|item| add(measure(item))),
        Kind::Mapping(entries) => entries.iter().for_each(|entry| {
            add(Size { nodes: 0, text_len_bytes: entry.key.len() });
            add(measure(&entry.value));
        }),
    }
    size
}

/// A key as a message may show it: short, and only when it is a plain word.
pub fn shown(key: &str) -> String {
    let plain =
        key.len() <= 63 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    if plain { format!("\"{key}\"") } else { "of this line".to_owned() }
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    line: usize,
) -> Result<Value, Malformed> {
    let string = || Value::String(text.to_owned());
    match tag {
        Some(tag) if tag.is_yaml_core_schema() => {
            let value = plain(text);
            match (tag.suffix.as_str(), &value) {
                ("str", _) => Ok(string()),
                ("binary", _) => Ok(string()),
                ("int", Value::Number(n)) if !n.is_f64() => Ok(value),
                ("float", Value::Number(_)) | ("bool", Value::Bool(_)) | ("null", Value::Null) => {
                    Ok(value)
                }
                _ => {
                    let mut message = String::from("the value does not fit its tag !!");
                    let _ = write!(message, "{}", tag.suffix.get(..12).unwrap_or(&tag.suffix));
                    Err(Malformed { line, message })
                }
            }
        }
        // `!` alone means: a string, whatever it looks like.
        Some(_) => Ok(string()),
        None if style == ScalarStyle::Plain => Ok(plain(text)),
        None => Ok(string()),
    }
}

/// What a word without quotes means to `kubectl`.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::String(text.to_owned());
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Value::Number(number);
    }
    let float = digits.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && digits.bytes().any(|b| b.is_ascii_digit());
    match digits.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) if float => Value::Number(number),
        _ => Value::String(text.to_owned()),
    }
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, digits.get(2..)?),
        Some("0o" | "0O") => (8, digits.get(2..)?),
        Some("0b" | "0B") => (2, digits.get(2..)?),
        Some(two) if two.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        Some(Number::from(i64::try_from(value).ok()?.checked_neg()?))
    } else {
        Some(Number::from(value))
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        let documents = parse(text.as_bytes()).unwrap();
        assert_eq!(documents.len(), 1, "{text}");
        documents[0].to_json()
    }

    fn problem(text: &str) -> (usize, String) {
        let error = parse(text.as_bytes()).unwrap_err();
        (error.line, error.message)
    }

    #[test]
    fn words_without_quotes_mean_what_kubectl_reads() {
        let table = [
            ("yes", json!(true)),
            ("off", json!(false)),
            ("n", json!(false)),
            ("~", json!(null)),
            ("+15551230001", json!(15_551_230_001_u64)),
            ("0x10", json!(16)),
            ("010", json!(8)),
            ("1_000", json!(1000)),
            ("-5", json!(-5)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("089", json!(89.0)),
            ("+1555*", json!("+1555*")),
            ("203.0.113.0/24", json!("203.0.113.0/24")),
            ("192.0.2.10", json!("192.0.2.10")),
            ("2026-11-23", json!("2026-11-23")),
            ("true-ish", json!("true-ish")),
            ("\"yes\"", json!("yes")),
            ("'44'", json!("44")),
            ("!!str 44", json!("44")),
            ("!!int 44", json!(44)),
        ];
        for (text, value) in table {
            assert_eq!(one(&format!("a: {text}")), json!({ "a": value }), "{text}");
        }
    }

    #[test]
    fn json_with_tabs_and_several_documents_are_read() {
        assert_eq!(
            one("{\n\t\"a\": [1, \"x\\u00e9\", null, true],\n\t\"b\": {}\n}"),
            json!({"a": [1, "xé", null, true], "b": {}})
        );
        let several = parse(b"---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n").unwrap();
        assert_eq!(several.len(), 2);
        assert_eq!(several[1].line, 7);
    }

    #[test]
    fn a_path_leads_to_its_line() {
        let text = "kind: Trunk\nspec:\n  routes:\n  - name: a\n    numbers: [\"1\",\n      \"2\"]\n  - name: b\n  variables:\n    a.b: c\n";
        let node = &parse(text.as_bytes()).unwrap()[0];
        for (path, line) in [
            ("", 1),
            ("spec", 2),
            ("spec.routes", 3),
            ("spec.routes[0]", 4),
            ("spec.routes[0].numbers[1]", 6),
            ("spec.routes[1].agentRef", 7),
            ("spec.routes[b].name", 7),
            ("spec.variables.a.b", 9),
            ("spec.variables[\"a.b\"]", 9),
            ("spec.routes[9]", 3),
            ("spec.nothing.there", 2),
        ] {
            assert_eq!(node.line_of(path), line, "{path}");
        }
    }

    #[test]
    fn anchors_and_merge_keys_unfold() {
        let text = "base: &b {x: 1, y: 2}\nlist: [*b, *b]\nuse:\n  <<: *b\n  y: 3\n";
        assert_eq!(
            one(text),
            json!({"base": {"x": 1, "y": 2}, "list": [{"x": 1, "y": 2}, {"x": 1, "y": 2}],
                   "use": {"y": 3, "x": 1}})
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(
            problem("a: 1\nb: 2\na: 3\n"),
            (3, "the key \"a\" is here twice (first in line 1); keep one".into())
        );
        assert_eq!(problem("a: 1\n\"a\": 3\n").0, 2);
        assert_eq!(problem("a: [1,\nb: }\n").0, 2);
        assert_eq!(problem("a: 1\n? [x]\n: 1\n").0, 2);
        assert!(parse(b"a: \xff").is_err());
        assert!(parse("a: &x [*x]".as_bytes()).is_err());
        assert!(parse("a: *nobody".as_bytes()).is_err());
    }

    #[test]
    fn bombs_end_at_the_limits() {
        let mut laughs = String::from("a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
        for (name, of) in ('b'..='i').zip('a'..) {
            let _ = writeln!(
                laughs,
                "{name}: &{name} [*{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}]"
            );
        }
        assert!(problem(&laughs).1.contains("too large"));
        assert!(problem(&"- ".repeat(10_000)).1.contains("inside each other"));
        assert!(problem(&"[".repeat(70)).1.contains("inside each other"));
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse("{a: ".repeat(100_000).as_bytes()).is_err());
        assert!(parse(&vec![b' '; MAX_FILE_LEN_BYTES + 1]).is_err());
    }

    #[test]
    fn no_truncation_and_no_changed_byte_panics() {
        let text = "a: &x [1, 'b', \"c\\n\"]\n<<: *x\nb: |\n  text\n---\n{\"k\": [*x, !!int 3]}\n"
            .as_bytes();
        for end in 0..text.len() {
            let _ = parse(&text[..end]);
        }
        for at in 0..text.len() {
            for byte in [0, b'\n', b':', b'-', b'[', b'&', b'*', b'!', b'%', 0x80, 0xff] {
                let mut changed = text.to_vec();
                changed[at] = byte;
                let _ = parse(&changed);
            }
        }
    }
}
