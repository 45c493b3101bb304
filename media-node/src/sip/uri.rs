//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966).
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Transport;
use super::message::Malformed;
use super::message::limits;
use super::message::scan::{self, Fault, Scanner};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Lower case. What follows the colon is in [`Uri::user`], untouched.
    Other(String),
}

impl Scheme {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sip => "sip",
            Self::Sips => "sips",
            Self::Tel => "tel",
            Self::Other(name) => name,
        }
    }
}

/// A host as SIP writes it: an IPv6 address stands in brackets.
#[derive(Clone, Debug, Eq)]
pub enum Host {
    /// Letters, digits, `-`, `_` and dots; compared without case.
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// A URI of any scheme. `==` compares what is written; [`Uri::is_equivalent`] compares as RFC 3261
/// §19.1.4 does.
///
/// Every text here is ASCII: a byte above 127 in a URI is kept as its `%` escape.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    pub scheme: Scheme,
    /// Still escaped. For `tel` the number as written; for other schemes all after the colon.
    pub user: Option<String>,
    /// Obsolete in SIP; never shown by `Debug` and `Display`.
    pub password: Option<String>,
    /// Always there for `sip` and `sips`, never for others.
    pub host: Option<Host>,
    pub port: Option<u16>,
    pub params: UriParams,
    /// `?name=value&…`, still escaped.
    pub headers: Vec<(String, String)>,
}

/// `;name=value` of a URI, still escaped. Names are compared without case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UriParams(Vec<(Cow<'static, str>, Option<String>)>);

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(two)) => one.eq_ignore_ascii_case(two),
            (Self::V4(one), Self::V4(two)) => one == two,
            (Self::V6(one), Self::V6(two)) => one == two,
            _ => false,
        }
    }
}

impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Name(name) => name.to_ascii_lowercase().hash(state),
            Self::V4(address) => address.hash(state),
            Self::V6(address) => address.hash(state),
        }
    }
}

impl Host {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(text.as_bytes());
        Self::read(&mut scanner)
            .and_then(|host| scanner.expect_done().map(|()| host))
            .map_err(|fault| Malformed::new("host", fault))
    }

    /// The address, when it is not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some((*address).into()),
            Self::V6(address) => Some((*address).into()),
        }
    }

    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Self, Fault> {
        let at = scanner.at();
        if scanner.eat(b'[') {
            let text = scan::ascii(scanner.take_while(|byte| byte != b']'));
            let address = text.parse().map_err(|_| Fault::at(at, "not an IPv6 address"))?;
            return if scanner.eat(b']') {
                Ok(Self::V6(address))
            } else {
                Err(Fault::at(at, "a [ without its ]"))
            };
        }
        let text = scan::ascii(scanner.take_while(scan::is_host));
        if text.is_empty() || text.len() > LONGEST_HOST {
            return Err(Fault::at(at, "expected a host"));
        }
        let last = text.as_bytes().last();
        if last.is_some_and(u8::is_ascii_digit)
            && let Ok(address) = text.parse()
        {
            return Ok(Self::V4(address));
        }
        let (name, dot) = (text.trim_end_matches('.'), text.ends_with(".."));
        if name.is_empty() || dot || name.starts_with('.') || name.contains("..") {
            return Err(Fault::at(at, "not a host name"));
        }
        Ok(Self::Name(text.to_owned()))
    }

    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            // A name made by hand may hold anything; a letter no host has becomes `-`.
            Self::Name(name) => out.extend(name.bytes().map(|byte| match byte {
                b'-' | b'.' | b'_' => byte,
                _ if byte.is_ascii_alphanumeric() => byte,
                _ => b'-',
            })),
            Self::V4(address) => out.extend_from_slice(address.to_string().as_bytes()),
            Self::V6(address) => out.extend_from_slice(format!("[{address}]").as_bytes()),
        }
    }
}

/// RFC 1035 §2.3.4: 255 octets on the wire, 253 letters as text, and a final dot.
const LONGEST_HOST: usize = 254;

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write_to(&mut out);
        f.write_str(scan::ascii(&out))
    }
}

impl UriParams {
    /// The value still escaped; `Some(None)` for a parameter without one.
    pub fn get(&self, name: &str) -> Option<Option<&str>> {
        self.0
            .iter()
            .find(|(known, _)| same_unescaped_without_case(known, name))
            .map(|(_, value)| value.as_deref())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_deref()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets or replaces; letters that may not stand there are escaped when written.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self.0.iter_mut().find(|(known, _)| same_unescaped_without_case(known, name)) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned().into(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !same_unescaped_without_case(known, name));
    }
}

impl Uri {
    /// `sip:user@host:port;transport=…`. `user` is plain text and is escaped here; `transport` is
    /// written for TCP and TLS only, for UDP is what is meant without it (§19.1.2).
    pub fn sip(
        user: Option<&str>,
        host: Host,
        port: Option<u16>,
        transport: Option<Transport>,
    ) -> Self {
        let mut params = UriParams::default();
        match transport {
            None | Some(Transport::Udp) => {}
            Some(Transport::Tcp) => params.set("transport", Some("tcp")),
            Some(Transport::Tls) => params.set("transport", Some("tls")),
        }
        let user = user.map(|text| {
            let mut out = Vec::new();
            escape_into(&mut out, text.as_bytes(), |byte| byte != b'%' && is_user(byte));
            scan::ascii(&out).to_owned()
        });
        Self {
            scheme: Scheme::Sip,
            user,
            password: None,
            host: Some(host),
            port,
            params,
            headers: Vec::new(),
        }
    }

    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        Self::read(text).map_err(|fault| Malformed::new("URI", fault))
    }

    pub fn is_sips(&self) -> bool {
        self.scheme == Scheme::Sips
    }

    /// The user part with its escapes resolved: a number or a name to route by. For `tel` the number
    /// as written, its visual separators (`-`, `.`, `(`, `)`) left out.
    pub fn user_text(&self) -> Option<Cow<'_, str>> {
        let user = self.user.as_deref()?;
        if self.scheme == Scheme::Tel {
            let visual = |letter: &char| !matches!(letter, '-' | '.' | '(' | ')');
            return Some(Cow::Owned(user.chars().filter(visual).collect()));
        }
        if !user.contains('%') {
            return Some(Cow::Borrowed(user));
        }
        let plain = unescape(user).collect::<Vec<_>>();
        Some(Cow::Owned(String::from_utf8_lossy(&plain).into_owned()))
    }

    /// The value of a URI parameter with its escapes resolved, lower case.
    pub fn param_text(&self, name: &str) -> Option<String> {
        let plain = unescape(self.params.get(name)??).collect::<Vec<_>>();
        Some(String::from_utf8_lossy(&plain).to_ascii_lowercase())
    }

    /// `lr`: the next hop routes loosely (RFC 3261 §16.12).
    pub fn is_loose_router(&self) -> bool {
        self.params.contains("lr")
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(bytes);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let scheme = scan::ascii(scanner.take_while(fits));
        if !scheme.starts_with(|letter: char| letter.is_ascii_alphabetic()) || !scanner.eat(b':') {
            return Err(Fault::at(0, "expected a URI scheme and a colon"));
        }
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("sip") => Scheme::Sip,
            _ if scheme.eq_ignore_ascii_case("sips") => Scheme::Sips,
            _ if scheme.eq_ignore_ascii_case("tel") => Scheme::Tel,
            _ => Scheme::Other(scheme.to_ascii_lowercase()),
        };
        let at = scanner.at();
        let rest = scanner.rest();
        if let Some(index) = rest.iter().position(|byte| is_never(*byte)) {
            return Err(Fault::at(at + index, "a letter that may not be in a URI"));
        }
        let mut uri = Self {
            scheme,
            user: None,
            password: None,
            host: None,
            port: None,
            params: UriParams::default(),
            headers: Vec::new(),
        };
        match uri.scheme {
            Scheme::Sip | Scheme::Sips => uri.read_sip(&mut scanner)?,
            Scheme::Tel => uri.read_tel(&mut scanner)?,
            Scheme::Other(_) if rest.is_empty() => {
                return Err(Fault::at(at, "nothing follows the scheme"));
            }
            Scheme::Other(_) => uri.user = Some(keep(rest, |_| true)),
        }
        Ok(uri)
    }

    fn read_sip(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        // `@` is in no other part unescaped, and `;`, `?`, `/` may be in the user part, so it is the
        // first `@` that decides (RFC 4475 §3.1.1.9).
        let rest = scanner.rest();
        if let Some(len) = memchr::memchr(b'@', rest) {
            let start = scanner.at();
            let userinfo = scanner.take(len);
            scanner.eat(b'@');
            let mut parts = userinfo.splitn(2, |byte| *byte == b':');
            let user = parts.next().unwrap_or_default();
            if user.is_empty() {
                return Err(Fault::at(start, "an @ without a user before it"));
            }
            check_escapes(userinfo).map_err(|fault| fault.shifted(start))?;
            self.user = Some(keep(user, is_user));
            self.password = parts.next().map(|password| keep(password, is_user));
        }
        self.host = Some(Host::read(scanner)?);
        if scanner.eat(b':') {
            let at = scanner.at();
            let digits = scanner.take_while(|byte| byte.is_ascii_digit());
            let port = scan::number(digits).and_then(|port| port.try_into().ok());
            self.port = Some(port.ok_or_else(|| Fault::at(at, "expected a port"))?);
        }
        self.params = read_params(scanner)?;
        if scanner.eat(b'?') {
            self.headers = read_headers(scanner)?;
        }
        scanner.expect_done()
    }

    fn read_tel(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        let at = scanner.at();
        let number = scanner.take_while(|byte| byte != b';');
        // RFC 3966 §3 has digits, hex digits, `*`, `#` and separators; letters come too.
        let fits = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'+' | b'*' | b'#' | b'-' | b'.' | b'(' | b')' | b'%')
        };
        if number.is_empty() || !number.iter().all(fits) {
            return Err(Fault::at(at, "expected a telephone number"));
        }
        check_escapes(number).map_err(|fault| fault.shifted(at))?;
        self.user = Some(scan::ascii(number).to_owned());
        self.params = read_params(scanner)?;
        scanner.expect_done()
    }

    /// As it goes on the wire. Letters that may not stand where they are get escaped.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.write_parts(out, true);
    }

    fn write_parts(&self, out: &mut Vec<u8>, with_password: bool) {
        out.extend(self.scheme.as_str().bytes().map(|byte| match byte {
            b'+' | b'-' | b'.' => byte,
            _ if byte.is_ascii_alphanumeric() => byte,
            _ => b'-',
        }));
        out.push(b':');
        let user = self.user.as_deref().unwrap_or_default().as_bytes();
        match self.scheme {
            Scheme::Sip | Scheme::Sips => {
                if !user.is_empty() {
                    escape_into(out, user, is_user);
                    if let Some(password) = self.password.as_deref().filter(|_| with_password) {
                        out.push(b':');
                        escape_into(out, password.as_bytes(), is_user);
                    }
                    out.push(b'@');
                }
                match &self.host {
                    Some(host) => host.write_to(out),
                    None => out.extend_from_slice(b"invalid"),
                }
                if let Some(port) = self.port {
                    out.extend_from_slice(format!(":{port}").as_bytes());
                }
            }
            Scheme::Tel => escape_into(out, user, |byte| is_user(byte) || byte == b'#'),
            Scheme::Other(_) => escape_into(out, user, |byte| !is_never(byte)),
        }
        for (name, value) in self.params.iter() {
            out.push(b';');
            escape_into(out, name.as_bytes(), is_param);
            if let Some(value) = value {
                out.push(b'=');
                escape_into(out, value.as_bytes(), is_param);
            }
        }
        for (index, (name, value)) in self.headers.iter().enumerate() {
            out.push(if index == 0 { b'?' } else { b'&' });
            escape_into(out, name.as_bytes(), is_header);
            out.push(b'=');
            escape_into(out, value.as_bytes(), is_header);
        }
    }

    /// Do both lead to the same place, as RFC 3261 §19.1.4 says? Not transitive (a parameter only
    /// one of them has may be ignored), hence not `==`.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        if self.scheme != other.scheme {
            return false;
        }
        if self.scheme == Scheme::Tel {
            return self.is_same_number(other);
        }
        let same_part = |one: &Option<String>, two: &Option<String>| match (one, two) {
            (None, None) => true,
            (Some(one), Some(two)) => same_unescaped(one, two),
            _ => false,
        };
        same_part(&self.user, &other.user)
            && same_part(&self.password, &other.password)
            && self.host == other.host
            && self.port == other.port
            && self.params_fit(other)
            && other.params_fit(self)
            && same_headers(&self.headers, &other.headers)
    }

    /// RFC 3966 §4: without visual separators, and without case; the same parameters in any order.
    fn is_same_number(&self, other: &Self) -> bool {
        let number = |uri: &Self| uri.user_text().map(|text| text.to_ascii_lowercase());
        let within = |one: &Self, two: &Self| {
            one.params.iter().all(|(name, _)| {
                one.params.get(name).zip(two.params.get(name)).is_some_and(same_value)
            })
        };
        number(self) == number(other) && within(self, other) && within(other, self)
    }

    fn params_fit(&self, other: &Self) -> bool {
        // Of a name that is there twice, which §19.1.1 forbids, the first counts.
        self.params.iter().all(|(name, _)| {
            match self.params.get(name).zip(other.params.get(name)) {
                Some(both) => same_value(both),
                // `transport` is not in the sentence of §19.1.4 but in its examples.
                None => !["user", "ttl", "method", "maddr", "transport"]
                    .iter()
                    .any(|decides| same_unescaped_without_case(name, decides)),
            }
        })
    }
}

fn same_value(both: (Option<&str>, Option<&str>)) -> bool {
    match both {
        (None, None) => true,
        (Some(one), Some(two)) => same_unescaped_without_case(one, two),
        _ => false,
    }
}

fn same_headers(one: &[(String, String)], two: &[(String, String)]) -> bool {
    let within = |one: &[(String, String)], two: &[(String, String)]| {
        one.iter().all(|(name, value)| {
            two.iter().any(|(theirs, other)| {
                same_unescaped_without_case(name, theirs) && same_unescaped(value, other)
            })
        })
    };
    one.len() == two.len() && within(one, two) && within(two, one)
}

fn read_params(scanner: &mut Scanner<'_>) -> Result<UriParams, Fault> {
    let mut params = Vec::new();
    while scanner.eat(b';') {
        let at = scanner.at();
        if params.len() >= limits::PARAMS {
            return Err(Fault::at(at, "too many parameters"));
        }
        let text = scanner.take_while(|byte| !matches!(byte, b';' | b'?'));
        check_escapes(text).map_err(|fault| fault.shifted(at))?;
        let mut parts = text.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() {
            return Err(Fault::at(at, "a parameter without a name"));
        }
        let name = if name.iter().copied().all(is_param) {
            scan::param_name(name)
        } else {
            Cow::Owned(keep(name, is_param))
        };
        params.push((name, parts.next().map(|value| keep(value, is_param))));
    }
    Ok(UriParams(params))
}

fn read_headers(scanner: &mut Scanner<'_>) -> Result<Vec<(String, String)>, Fault> {
    let at = scanner.at();
    let text = scanner.take(usize::MAX);
    check_escapes(text).map_err(|fault| fault.shifted(at))?;
    let mut headers = Vec::new();
    for part in text.split(|byte| *byte == b'&') {
        if headers.len() >= limits::PARAMS {
            return Err(Fault::at(at, "too many header fields in a URI"));
        }
        let mut sides = part.splitn(2, |byte| *byte == b'=');
        let name = sides.next().unwrap_or_default();
        let (false, Some(value)) = (name.is_empty(), sides.next()) else {
            return Err(Fault::at(at, "a header field of a URI needs a name and ="));
        };
        headers.push((keep(name, is_header), keep(value, is_header)));
    }
    Ok(headers)
}

/// RFC 3261 §25.1, user and password, with `%`: what is already escaped stays so.
fn is_user(byte: u8) -> bool {
    scan::is_class(byte, scan::URI_USER)
}

fn is_param(byte: u8) -> bool {
    scan::is_class(byte, scan::URI_PARAM)
}

fn is_header(byte: u8) -> bool {
    scan::is_class(byte, scan::URI_HEADER)
}

fn is_never(byte: u8) -> bool {
    scan::is_class(byte, scan::URI_NEVER)
}

/// `bytes` as ASCII text, with everything outside `plain` escaped.
fn keep(bytes: &[u8], plain: impl Fn(u8) -> bool) -> String {
    if bytes.iter().all(|byte| byte.is_ascii() && plain(*byte)) {
        return scan::ascii(bytes).to_owned();
    }
    let mut out = Vec::with_capacity(bytes.len() + 8);
    escape_into(&mut out, bytes, plain);
    scan::ascii(&out).to_owned()
}

fn escape_into(out: &mut Vec<u8>, bytes: &[u8], plain: impl Fn(u8) -> bool) {
    for &byte in bytes {
        if byte.is_ascii() && plain(byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            out.push(hex_digit(byte >> 4));
            out.push(hex_digit(byte & 0x0f));
        }
    }
}

fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'A' + (nibble & 0x0f) - 10,
    }
}

fn hex_value(digit: Option<&u8>) -> Option<u8> {
    char::from(*digit?).to_digit(16).and_then(|value| value.try_into().ok())
}

fn check_escapes(bytes: &[u8]) -> Result<(), Fault> {
    for index in memchr::memchr_iter(b'%', bytes) {
        let digits = (hex_value(bytes.get(index + 1)), hex_value(bytes.get(index + 2)));
        if matches!(digits, (None, _) | (_, None)) {
            return Err(Fault::at(index, "a % without two hexadecimal digits"));
        }
    }
    Ok(())
}

fn unescape(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&first, more) = rest.split_first()?;
        rest = more;
        if first == b'%'
            && let (Some(high), Some(low)) = (hex_value(more.first()), hex_value(more.get(1)))
        {
            rest = more.get(2..).unwrap_or_default();
            return Some(high << 4 | low);
        }
        Some(first)
    })
}

/// Letter by letter with escapes resolved. A reserved letter and its escape differ (§19.1.4), so
/// escapes of those stay apart.
fn folded(text: &str) -> impl Iterator<Item = (bool, u8)> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&first, more) = rest.split_first()?;
        rest = more;
        if first == b'%'
            && let (Some(high), Some(low)) = (hex_value(more.first()), hex_value(more.get(1)))
        {
            rest = more.get(2..).unwrap_or_default();
            let byte = high << 4 | low;
            let reserved =
                matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',');
            return Some((reserved, byte));
        }
        Some((false, first))
    })
}

fn same_unescaped(one: &str, two: &str) -> bool {
    folded(one).eq(folded(two))
}

fn same_unescaped_without_case(one: &str, two: &str) -> bool {
    let lower = |(escaped, byte): (bool, u8)| (escaped, byte.to_ascii_lowercase());
    folded(one).map(lower).eq(folded(two).map(lower))
}

impl FromStr for Uri {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text.as_bytes())
    }
}

/// The wire form without the password.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write_parts(&mut out, false);
        f.write_str(scan::ascii(&out))
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests;
