//! `"Display name" <uri>;params`: From, To, Contact, Route and their kin (RFC 3261 §20.10).

use std::borrow::Cow;

use super::super::params::lossy;
use super::super::scan::{self, Fault, Scanner};
use super::super::{HeaderValue, Malformed, Params};
use super::Tag;
use crate::sip::Uri;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameAddr {
    /// Quotes and escapes resolved; any bytes, for peers send names in Latin-1 too.
    pub display_name: Option<Vec<u8>>,
    pub uri: Uri,
    /// The header's own parameters (`tag`, `expires`, `q`), not the URI's.
    pub params: Params,
}

impl NameAddr {
    pub fn new(uri: Uri) -> Self {
        Self { display_name: None, uri, params: Params::new() }
    }

    pub fn with_tag(mut self, tag: &Tag) -> Self {
        self.params.set("tag", Some(tag.as_str()));
        self
    }

    pub fn tag(&self) -> Option<Tag> {
        Tag::parse(self.params.get("tag")??).ok()
    }

    /// The display name as text; a byte that is not UTF-8 shows as �.
    pub fn display_text(&self) -> Option<Cow<'_, str>> {
        self.display_name.as_deref().map(|name| lossy(Cow::Borrowed(name)))
    }

    /// A value of From, To, Contact, Route, Refer-To, P-Asserted-Identity … on its own.
    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        Self::read(value).map_err(|fault| Malformed::new("address", fault))
    }

    pub(in super::super) fn read(value: &[u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(value);
        scanner.skip_lws();
        let start = scanner.clone();
        let (display_name, bracketed) = if scanner.peek() == Some(b'"') {
            let name = scan::unquote(scanner.quoted()?).into_owned();
            scanner.skip_lws();
            if scanner.peek() != Some(b'<') {
                return Err(scanner.fault("expected < after the display name"));
            }
            (Some(name), true)
        } else {
            // Tokens and spaces by the grammar. Other letters (brackets, accents in any encoding)
            // are unambiguous up to the `<` and are let through (RFC 4475 §3.1.2.15).
            let ends = |byte| {
                matches!(byte, b'<' | b'>' | b'"' | b':' | b';' | b',' | b'\\' | b'\r' | b'\n')
            };
            let name = scan::trim(scanner.take_while(|byte| !ends(byte)));
            let bracketed = scanner.peek() == Some(b'<');
            (bracketed.then(|| name.to_vec()).filter(|name| !name.is_empty()), bracketed)
        };
        let uri = if bracketed {
            scanner.eat(b'<');
            let at = scanner.at();
            let text = scanner.take_while(|byte| byte != b'>');
            if !scanner.eat(b'>') {
                return Err(Fault::at(at, "a < without its >"));
            }
            Uri::read(text).map_err(|fault| fault.shifted(at))?
        } else {
            scanner = start;
            let at = scanner.at();
            // RFC 3261 §20.10: without brackets, what follows a semicolon belongs to the header, and
            // a comma or question mark may not be in the URI.
            let text = scanner.take_while(|byte| !matches!(byte, b';' | b' ' | b'\t'));
            if let Some(ours) = text.iter().position(|byte| matches!(byte, b'?' | b',')) {
                return Err(Fault::at(at + ours, "a URI with this letter needs < and >"));
            }
            Uri::read(text).map_err(|fault| fault.shifted(at))?
        };
        let mut tagged = false;
        let params = Params::parse_others(&mut scanner, |name, value| {
            if name.eq_ignore_ascii_case(b"tag") {
                if std::mem::replace(&mut tagged, true) {
                    return Err("there are two tags");
                }
                Tag::check(value.unwrap_or_default()).map_err(|_| "the tag cannot be read")?;
            }
            Ok(false)
        })?;
        Ok(Self { display_name, uri, params })
    }

    /// Always with angle brackets, the display name always quoted: the form that is never misread.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        if let Some(name) = &self.display_name {
            scan::write_quoted(&mut out, name);
            out.push(b' ');
        }
        out.push(b'<');
        self.uri.write_to(&mut out);
        out.push(b'>');
        self.params.write_to(&mut out);
        out
    }
}

impl From<&NameAddr> for HeaderValue {
    fn from(address: &NameAddr) -> Self {
        address.write().into()
    }
}

impl From<NameAddr> for HeaderValue {
    fn from(address: NameAddr) -> Self {
        address.write().into()
    }
}

impl From<Uri> for NameAddr {
    fn from(uri: Uri) -> Self {
        Self::new(uri)
    }
}
