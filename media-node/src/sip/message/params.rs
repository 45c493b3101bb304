//! `;name=value` parameters of a header field (RFC 3261 §25.1, generic-param).

use std::borrow::Cow;

use super::limits;
use super::scan::{self, Fault, Scanner};

/// Parameters in the order they came. Names are compared without case; values are kept as they were
/// written, quotes included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Params(Vec<(Cow<'static, str>, Option<Vec<u8>>)>);

impl Params {
    pub fn new() -> Self {
        Self::default()
    }

    /// The value as written; `Some(None)` for a parameter without one.
    pub fn get(&self, name: &str) -> Option<Option<&[u8]>> {
        self.0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_deref())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value with its quotes and escapes resolved, as text; a byte that is not UTF-8 shows as �.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name)?.map(|value| lossy(scan::unquote(value)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_deref()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets or replaces a parameter; the value is quoted when it has to be. A `name` that is no
    /// token is ignored.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        if scan::token_text(name.as_bytes()).is_none() {
            return;
        }
        let value = value.map(|value| {
            let bytes = value.as_bytes();
            if !bytes.is_empty() && bytes.iter().copied().all(scan::is_param_value) {
                return bytes.to_vec();
            }
            let mut quoted = Vec::with_capacity(bytes.len() + 2);
            scan::write_quoted(&mut quoted, bytes);
            quoted
        });
        match self.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned().into(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Everything from the cursor to the end: `*(SEMI generic-param)`.
    pub(super) fn parse(scanner: &mut Scanner<'_>) -> Result<Self, Fault> {
        Self::parse_others(scanner, |_, _| Ok(false))
    }

    /// As [`Self::parse`], without those that `takes` says it has taken.
    pub(super) fn parse_others<'a>(
        scanner: &mut Scanner<'a>,
        mut takes: impl FnMut(&'a [u8], Option<&'a [u8]>) -> Result<bool, &'static str>,
    ) -> Result<Self, Fault> {
        let mut params = Self::default();
        let mut count = 0;
        while scanner.eat_separator(b';') {
            let at = scanner.at();
            count += 1;
            if count > limits::PARAMS {
                return Err(Fault::at(at, "too many parameters"));
            }
            let name = scanner.token()?;
            let value = if scanner.eat_separator(b'=') {
                Some(match scanner.peek() {
                    Some(b'"') => scanner.quoted()?,
                    _ => scanner.take_while(scan::is_param_value),
                })
            } else {
                None
            };
            if !takes(name, value).map_err(|problem| Fault::at(at, problem))? {
                params.0.push((scan::param_name(name), value.map(<[u8]>::to_vec)));
            }
        }
        scanner.skip_lws();
        scanner.expect_done()?;
        Ok(params)
    }

    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            out.push(b';');
            out.extend_from_slice(name.as_bytes());
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }
}

pub(super) fn lossy(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}
