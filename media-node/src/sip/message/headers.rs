//! The header fields of a message, in order, and their typed values.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::scan::{self, Fault};
use super::{
    CSeq, CallId, HeaderName, HeaderValue, Malformed, MediaType, NameAddr, Reason, Via, limits,
    params,
};

/// Header fields as they came, one entry a line: continuation lines joined by a space, compact names
/// expanded, values untouched (bytes, not text). Lines of one name keep their order.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn with_capacity(lines: usize) -> Self {
        Self(Vec::with_capacity(lines))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// The lines of this name; a line of a list header may hold several values ([`Self::list`]).
    pub fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.lines(name).map(HeaderValue::as_bytes)
    }

    fn lines<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }

    /// The first line of this name.
    pub fn first(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The first line of this name as text; a byte that is not UTF-8 shows as �.
    pub fn text(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        self.first(name).map(|value| params::lossy(Cow::Borrowed(value.as_bytes())))
    }

    pub fn contains(&self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }

    pub fn push(&mut self, name: HeaderName, value: impl Into<HeaderValue>) {
        self.0.push((name, value.into()));
    }

    pub(super) fn push_parsed(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    pub fn push_front(&mut self, name: HeaderName, value: impl Into<HeaderValue>) {
        self.0.insert(0, (name, value.into()));
    }

    /// Puts `value` where the first line of this name is, or last, and drops the other lines.
    pub fn set(&mut self, name: HeaderName, value: impl Into<HeaderValue>) {
        let Some(at) = self.0.iter().position(|(known, _)| *known == name) else {
            return self.push(name, value);
        };
        let mut index = 0;
        self.0.retain(|(known, _)| {
            index += 1;
            index - 1 == at || *known != name
        });
        if let Some((_, old)) = self.0.get_mut(at) {
            *old = value.into();
        }
    }

    /// Removes every line of this name; how many there were.
    pub fn remove(&mut self, name: &HeaderName) -> usize {
        let before = self.0.len();
        self.0.retain(|(known, _)| known != name);
        before - self.0.len()
    }

    /// The values of all lines of this name: split at commas outside quotes and angle brackets where
    /// the header is a list ([`HeaderName::is_list`]), else one a line. No list of a grammar we have
    /// types for may have an empty element; one that has yields it as empty.
    pub fn list<'a>(&'a self, name: &'a HeaderName) -> Result<Vec<&'a [u8]>, Malformed> {
        let mut found = Vec::new();
        for value in self.values(name) {
            if !name.is_list() {
                found.push(value);
                continue;
            }
            for element in scan::split_list(value) {
                if found.len() >= limits::LIST {
                    return Err(Malformed::header(name, Fault::at(0, "too many values")));
                }
                found.push(element);
            }
        }
        Ok(found)
    }

    fn typed<T>(
        &self,
        name: &HeaderName,
        read: impl Fn(&[u8]) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Malformed> {
        let mut found = Vec::new();
        for value in self.values(name) {
            if !name.is_list() {
                found.push(read(value).map_err(|fault| Malformed::header(name, fault))?);
                continue;
            }
            for element in scan::split_list(value) {
                if found.len() >= limits::LIST {
                    return Err(Malformed::header(name, Fault::at(0, "too many values")));
                }
                found.push(read(element).map_err(|fault| Malformed::header(name, fault))?);
            }
        }
        Ok(found)
    }

    fn at_most_one(&self, name: &HeaderName) -> Result<Option<&HeaderValue>, Malformed> {
        if self.lines(name).nth(1).is_some() {
            return Err(Malformed::header(name, Fault::at(0, "is there more than once")));
        }
        Ok(self.first(name))
    }

    fn one<T>(
        &self,
        name: &HeaderName,
        read: impl Fn(&[u8]) -> Result<T, Fault>,
    ) -> Result<T, Malformed> {
        match self.at_most_one(name)? {
            None => Err(Malformed::header(name, Fault::at(0, "is missing"))),
            Some(value) => read(value.as_bytes()).map_err(|fault| Malformed::header(name, fault)),
        }
    }

    /// The topmost Via value, the only one a user agent reads.
    pub fn top_via(&self) -> Result<Via, Malformed> {
        let first = self.first(&HeaderName::Via).map(HeaderValue::as_bytes);
        let first = first.and_then(|value| scan::split_list(value).next());
        match first {
            None => Err(Malformed::header(&HeaderName::Via, Fault::at(0, "is missing"))),
            Some(value) => {
                Via::read(value).map_err(|fault| Malformed::header(&HeaderName::Via, fault))
            }
        }
    }

    pub fn vias(&self) -> Result<Vec<Via>, Malformed> {
        self.typed(&HeaderName::Via, Via::read)
    }

    pub fn from(&self) -> Result<NameAddr, Malformed> {
        self.one(&HeaderName::From, NameAddr::read)
    }

    pub fn to(&self) -> Result<NameAddr, Malformed> {
        self.one(&HeaderName::To, NameAddr::read)
    }

    pub fn call_id(&self) -> Result<CallId, Malformed> {
        self.one(&HeaderName::CallId, CallId::parse)
    }

    pub fn cseq(&self) -> Result<CSeq, Malformed> {
        self.one(&HeaderName::CSeq, CSeq::parse)
    }

    /// 0–255 (RFC 3261 §20.22); `None` from a peer older than the RFC.
    pub fn max_forwards(&self) -> Result<Option<u8>, Malformed> {
        let name = &HeaderName::MaxForwards;
        let Some(hops) = self.number(name)? else { return Ok(None) };
        let hops = hops.try_into();
        hops.map(Some).map_err(|_| Malformed::header(name, Fault::at(0, "is more than 255")))
    }

    /// A header that is one number: Expires, Min-SE, RSeq, Retry-After without its comment. Numbers
    /// past 32 bits are malformed (RFC 4475 §3.1.2.4).
    pub fn number(&self, name: &HeaderName) -> Result<Option<u32>, Malformed> {
        let Some(value) = self.at_most_one(name)? else { return Ok(None) };
        let digits = value.as_bytes();
        let digits = digits.split(|byte| matches!(byte, b';' | b'(')).next().unwrap_or_default();
        let number = scan::number(scan::trim(digits)).and_then(|number| number.try_into().ok());
        let fault = || Malformed::header(name, Fault::at(0, "expected a number below 2^32"));
        number.map(Some).ok_or_else(fault)
    }

    /// The Contact addresses; none for `Contact: *` ([`Self::is_contact_star`]).
    pub fn contacts(&self) -> Result<Vec<NameAddr>, Malformed> {
        if self.is_contact_star() {
            return Ok(Vec::new());
        }
        self.typed(&HeaderName::Contact, NameAddr::read)
    }

    /// `Contact: *` alone: forget every binding (RFC 3261 §10.2.2).
    pub fn is_contact_star(&self) -> bool {
        let mut lines = self.values(&HeaderName::Contact);
        lines.next() == Some(b"*") && lines.next().is_none()
    }

    pub fn record_routes(&self) -> Result<Vec<NameAddr>, Malformed> {
        self.typed(&HeaderName::RecordRoute, NameAddr::read)
    }

    pub fn routes(&self) -> Result<Vec<NameAddr>, Malformed> {
        self.typed(&HeaderName::Route, NameAddr::read)
    }

    pub fn reasons(&self) -> Result<Vec<Reason>, Malformed> {
        self.typed(&HeaderName::Reason, Reason::read)
    }

    /// Any other header whose values are addresses: P-Asserted-Identity, Diversion, Refer-To …
    pub fn addresses(&self, name: &HeaderName) -> Result<Vec<NameAddr>, Malformed> {
        self.typed(name, NameAddr::read)
    }

    pub fn content_type(&self) -> Result<Option<MediaType>, Malformed> {
        let name = &HeaderName::ContentType;
        let Some(value) = self.at_most_one(name)? else { return Ok(None) };
        let media = MediaType::parse(value.as_bytes());
        media.map(Some).map_err(|fault| Malformed::header(name, fault))
    }

    /// Accept: media ranges, in the order they came.
    pub fn accepts(&self) -> Result<Vec<MediaType>, Malformed> {
        let read = |value: &[u8]| match value {
            // An empty Accept is legal and means nothing (RFC 3261 §20.1).
            b"" => Ok(None),
            _ => MediaType::parse(value).map(Some),
        };
        Ok(self.typed(&HeaderName::Accept, read)?.into_iter().flatten().collect())
    }

    /// The words of Require, Supported, Allow, Proxy-Require, Content-Encoding, Privacy … . Empty
    /// ones are skipped: `Supported:` alone is legal.
    pub fn tokens(&self, name: &HeaderName) -> Result<Vec<&str>, Malformed> {
        let mut tokens = Vec::new();
        let lines = self.0.iter().filter(|(known, _)| known == name);
        for element in lines.flat_map(|(_, value)| scan::split_list(value.as_bytes())) {
            if element.is_empty() {
                continue;
            }
            if tokens.len() >= limits::LIST {
                return Err(Malformed::header(name, Fault::at(0, "too many values")));
            }
            let fault = || Malformed::header(name, Fault::at(0, "expected tokens"));
            tokens.push(scan::token_text(element).ok_or_else(fault)?);
        }
        Ok(tokens)
    }

    /// Is `token`, in any case, among [`Self::tokens`]? A list that cannot be read has none.
    pub fn has_token(&self, name: &HeaderName, token: &str) -> bool {
        let tokens = self.tokens(name).unwrap_or_default();
        tokens.iter().any(|known| known.eq_ignore_ascii_case(token))
    }

    /// Puts a Via of ours above those that are there.
    pub fn push_via(&mut self, via: &Via) {
        self.push_front(HeaderName::Via, via);
    }

    /// Replaces the topmost Via value; others on its line stay.
    pub fn set_top_via(&mut self, via: &Via) {
        let Some(at) = self.0.iter().position(|(name, _)| *name == HeaderName::Via) else {
            return self.push_via(via);
        };
        if let Some((_, value)) = self.0.get_mut(at) {
            let mut new = via.write();
            let mut elements = scan::split_list(value.as_bytes());
            elements.next();
            for element in elements {
                new.extend_from_slice(b", ");
                new.extend_from_slice(element);
            }
            *value = new.into();
        }
    }

    /// Notes on the top Via where the request really came from (RFC 3261 §18.2.1, RFC 3581 §4).
    /// A `received` the sender wrote itself is not believed.
    pub fn stamp_via(&mut self, remote: SocketAddr) -> Result<(), Malformed> {
        let mut via = self.top_via()?;
        let address = remote.ip().to_canonical();
        let asked = via.rport.is_some();
        let differs = via.host.ip().map(|ip| ip.to_canonical()) != Some(address);
        via.params.remove("received");
        via.received = (asked || differs).then_some(address);
        if asked {
            via.rport = Some(Some(remote.port()));
        }
        self.set_top_via(&via);
        Ok(())
    }

    /// Adds `;tag=` to To unless it has one; the rest of the value stays byte for byte. Nothing
    /// happens when To cannot be read or `tag` is not one.
    pub fn add_to_tag(&mut self, tag: &str) {
        let untagged = self.to().is_ok_and(|to| to.tag().is_none());
        let (true, Some(tag)) = (untagged, super::Tag::new(tag)) else { return };
        if let Some((_, value)) = self.0.iter_mut().find(|(name, _)| *name == HeaderName::To) {
            let mut new = value.as_bytes().to_vec();
            new.extend_from_slice(b";tag=");
            new.extend_from_slice(tag.as_str().as_bytes());
            *value = new.into();
        }
    }

    /// What must be readable in every message.
    pub(super) fn check_core(&self) -> Result<CSeq, Malformed> {
        self.top_via()?;
        self.from()?;
        self.to()?;
        self.call_id()?;
        self.max_forwards()?;
        self.cseq()
    }

    /// Everything else this library has types for.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        self.vias()?;
        self.contacts()?;
        self.routes()?;
        self.record_routes()?;
        self.content_type()?;
        self.accepts()?;
        self.number(&HeaderName::Expires)?;
        self.reasons()?;
        for name in [
            HeaderName::Require,
            HeaderName::ProxyRequire,
            HeaderName::Supported,
            HeaderName::Allow,
            HeaderName::ContentEncoding,
        ] {
            self.tokens(&name)?;
        }
        self.at_most_one(&HeaderName::ReplyTo)?;
        for name in [HeaderName::ReferTo, HeaderName::ReferredBy] {
            self.at_most_one(&name)?;
            self.addresses(&name)?;
        }
        Ok(())
    }
}
