//! `scheme name=value, name="value"`: the grammar that challenges and credentials share
//! (RFC 3261 §25.1, RFC 7616 §3).

/// The most parameters one header value may carry; RFC 7616 names eleven.
const MAX_PARAMS: usize = 32;
/// The longest header value that is looked at, in bytes.
const MAX_LEN_BYTES: usize = 4096;

/// The peer's `Authorization` or `WWW-Authenticate` is not what the grammar allows.
///
/// It names the parameter at fault and never holds the peer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    pub field: &'static str,
    pub problem: &'static str,
}

pub(super) const fn malformed(field: &'static str, problem: &'static str) -> Malformed {
    Malformed { field, problem }
}

/// The parameters behind `Digest`, names in lower case, values unquoted, each name once.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// `Ok(None)` when the scheme is another one.
    pub(super) fn parse(value: &[u8]) -> Result<Option<Self>, Malformed> {
        if value.len() > MAX_LEN_BYTES {
            return Err(malformed("digest", "longer than 4096 bytes"));
        }
        let Ok(text) = std::str::from_utf8(value) else {
            return Err(malformed("digest", "not UTF-8"));
        };
        let text = text.trim_start();
        let (scheme, rest) = text.split_once(is_space).unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Ok(None);
        }
        let mut params = Self(Vec::new());
        let mut rest = rest.trim_matches(is_space);
        while !rest.is_empty() {
            let Some((name, after)) = rest.split_once('=') else {
                return Err(malformed("digest", "parameter without a value"));
            };
            let name = name.trim_matches(is_space).to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(malformed("digest", "parameter name is not a token"));
            }
            let after = after.trim_start_matches(is_space);
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    let (value, after) = after.split_at(end);
                    (value.trim_end_matches(is_space).to_owned(), after)
                }
            };
            if params.text(&name).is_some() {
                return Err(malformed("digest", "a parameter appears twice"));
            }
            if params.0.len() == MAX_PARAMS {
                return Err(malformed("digest", "more than 32 parameters"));
            }
            params.0.push((name, value));
            let after = after.trim_start_matches(is_space);
            rest = match after.strip_prefix(',') {
                Some(more) => more.trim_start_matches(|c| c == ',' || is_space(c)),
                None if after.is_empty() => after,
                None => return Err(malformed("digest", "no comma between parameters")),
            };
        }
        Ok(Some(params))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn need(&self, name: &'static str) -> Result<&str, Malformed> {
        self.text(name).ok_or(malformed(name, "missing"))
    }
}

/// The text up to the closing quote with its escapes undone, and what follows the quote.
fn unquote(quoted: &str) -> Result<(String, &str), Malformed> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            plain => value.push(plain),
        }
    }
    Err(malformed("digest", "quoted string without an end"))
}

/// The value in quotes, with `"` and `\` escaped and what cannot stand in a header left out.
pub(super) fn quote(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}
