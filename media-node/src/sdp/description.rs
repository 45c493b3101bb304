//! A session description as lines (RFC 8866): parser, model and writer.
//!
//! Only what shapes the document is understood here (`v=`, `o=`, `c=`, `m=`, `a=name:value`); every
//! other line is kept byte for byte. Attribute values are read by whoever needs them, so that a
//! broken `a=fmtp` of a codec nobody wants never costs a call.
#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use crate::media::Direction;

use super::crypto::{CryptoAttribute, CryptoProblem};

/// The longest description that is read, in bytes.
pub const MAX_LEN_BYTES: usize = 64 * 1024;
/// The most lines of one description.
pub const MAX_LINES: usize = 2048;
/// The longest line, in bytes.
pub const MAX_LINE_LEN_BYTES: usize = 8 * 1024;
/// The most `m=` lines.
pub const MAX_MEDIA: usize = 32;
/// The most formats of one `m=` line; there are 128 payload types.
pub const MAX_FORMATS: usize = 128;

/// The description cannot be read. `Display` names the line type and never prints the peer's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SDP {field} at byte {offset}: {problem}")]
pub struct Malformed {
    /// The line type: `"v="`, `"m="`, …, or `"line"` where none can be told.
    pub field: &'static str,
    /// Offset of the line in the body, in bytes.
    pub offset: usize,
    pub problem: &'static str,
}

/// A line that is kept as it came: its type letter and what follows the `=`.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    pub kind: u8,
    pub value: Vec<u8>,
}

/// `a=name` or `a=name:value`.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// `o=`, as it came, and the two numbers in it when they are numbers (RFC 8866 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: Vec<u8>,
    pub session_id: Option<u64>,
    pub session_version: Option<u64>,
}

/// `c=`, as it came, and the address in it when it is a literal (RFC 8866 §5.7).
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    text: Vec<u8>,
    /// `None` for a host name or a network type that is not `IN`.
    pub address: Option<IpAddr>,
}

/// What `a=rtpmap` says of one format (RFC 8866 §6.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap<'a> {
    pub encoding_name: &'a str,
    pub clock_rate_hz: u32,
    /// Audio channels; 1 when not written.
    pub channels: u32,
}

/// One `m=` line with what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaDescription {
    /// `audio`, `video`, `application`, `image`, …
    pub kind: String,
    /// 0 means rejected or removed (RFC 3264 §6, §8.2).
    pub port: u16,
    /// The number of port pairs (`49170/2`).
    pub port_count: Option<u32>,
    /// `RTP/AVP`, `RTP/SAVP`, …
    pub protocol: String,
    pub formats: Vec<String>,
    pub connection: Option<Connection>,
    pub attributes: Vec<Attribute>,
    /// `i=`, `b=`, `k=`, further `c=`, and what nobody knows.
    pub other: Vec<Line>,
}

/// A whole description: session level, then media.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionDescription {
    pub origin: Option<Origin>,
    pub connection: Option<Connection>,
    pub attributes: Vec<Attribute>,
    /// `s=`, `t=`, `i=`, `b=`, `k=` and so on.
    pub other: Vec<Line>,
    pub media: Vec<MediaDescription>,
}

impl SessionDescription {
    /// Reads a body of `application/sdp`.
    ///
    /// Line ends may be CRLF or LF, blank lines are skipped, `o=`, `s=` and `t=` may be missing, and
    /// session lines may stand in any order; one that can only belong to the session (`o s u e p t r
    /// z`) is taken as such even below an `m=`.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > MAX_LEN_BYTES {
            return Err(Malformed { field: "line", offset: MAX_LEN_BYTES, problem: "too long" });
        }
        let mut session = Self::default();
        let mut version_seen = false;
        for (number, (offset, line)) in lines(body).enumerate() {
            let malformed = |field, problem| Malformed { field, offset, problem };
            if number >= MAX_LINES {
                return Err(malformed("line", "too many lines"));
            }
            if line.len() > MAX_LINE_LEN_BYTES {
                return Err(malformed("line", "line too long"));
            }
            let [kind, b'=', value @ ..] = line else {
                return Err(malformed("line", "not of the form letter=value"));
            };
            if !kind.is_ascii_alphabetic() {
                return Err(malformed("line", "not of the form letter=value"));
            }
            if *kind == b'v' {
                if version_seen {
                    return Err(malformed("v=", "a second description begins here"));
                }
                if trim(value) != b"0" {
                    return Err(malformed("v=", "only version 0 exists"));
                }
                version_seen = true;
                continue;
            }
            if !version_seen {
                return Err(malformed("v=", "must be the first line"));
            }
            session.take(*kind, value).map_err(|(field, problem)| malformed(field, problem))?;
        }
        if !version_seen {
            return Err(Malformed { field: "v=", offset: body.len(), problem: "missing" });
        }
        Ok(session)
    }

    fn take(&mut self, kind: u8, value: &[u8]) -> Result<(), (&'static str, &'static str)> {
        match kind {
            b'o' if self.origin.is_some() => return Err(("o=", "given twice")),
            b'o' => {
                self.origin = Some(Origin::parse(value));
                return Ok(());
            }
            b's' | b'u' | b'e' | b'p' | b't' | b'r' | b'z' => {
                self.other.push(Line { kind, value: value.to_vec() });
                return Ok(());
            }
            b'm' if self.media.len() >= MAX_MEDIA => return Err(("m=", "too many media lines")),
            b'm' => {
                self.media.push(MediaDescription::parse(value).map_err(|problem| ("m=", problem))?);
                return Ok(());
            }
            _ => {}
        }
        let (connection, attributes, other) = match self.media.last_mut() {
            Some(media) => (&mut media.connection, &mut media.attributes, &mut media.other),
            None => (&mut self.connection, &mut self.attributes, &mut self.other),
        };
        match kind {
            b'c' if connection.is_none() => {
                *connection = Some(Connection::parse(value).map_err(|problem| ("c=", problem))?);
            }
            b'a' => attributes.push(Attribute::parse(value)),
            _ => other.push(Line { kind, value: value.to_vec() }),
        }
        Ok(())
    }

    /// The description in the order of RFC 8866 §5, with CRLF.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(b"v=0\r\n");
        if let Some(origin) = &self.origin {
            write_line(&mut out, b'o', &origin.text);
        }
        write_section(&mut out, &self.other, self.connection.as_ref(), &self.attributes);
        for media in &self.media {
            write_line(&mut out, b'm', media.line().as_bytes());
            write_section(&mut out, &media.other, media.connection.as_ref(), &media.attributes);
        }
        out
    }

    /// The first session attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.is(name))
    }

    /// The `c=` that holds for a media line: its own, else the session's.
    pub fn connection_of(&self, media: &MediaDescription) -> Option<Connection> {
        media.connection.clone().or_else(|| self.connection.clone())
    }

    /// The direction that holds for a media line as its writer sees it: its own, else the session's,
    /// else `sendrecv` (RFC 8866 §6.7). `c=0.0.0.0`, the hold of RFC 2543, takes away what the
    /// writer receives.
    pub fn direction_of(&self, media: &MediaDescription) -> Direction {
        let written = direction_in(&media.attributes).or_else(|| direction_in(&self.attributes));
        let direction = written.unwrap_or_default();
        let held = self
            .connection_of(media)
            .and_then(|connection| connection.address)
            .is_some_and(|address| address.is_unspecified());
        match (held, direction) {
            (true, Direction::SendRecv) => Direction::SendOnly,
            (true, Direction::RecvOnly) => Direction::Inactive,
            (_, direction) => direction,
        }
    }
}

impl MediaDescription {
    fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(value).map_err(|_| "not UTF-8")?;
        let mut words = text.split_ascii_whitespace();
        let kind = words.next().ok_or("no media type")?;
        let port = words.next().ok_or("no port")?;
        let protocol = words.next().ok_or("no protocol")?;
        let (port, count) = match port.split_once('/') {
            Some((port, count)) => (port, Some(number(count).ok_or("bad number of ports")?)),
            None => (port, None),
        };
        let port = number(port).and_then(|port| u16::try_from(port).ok()).ok_or("bad port")?;
        let formats: Vec<String> = words.take(MAX_FORMATS + 1).map(str::to_owned).collect();
        if formats.len() > MAX_FORMATS {
            return Err("too many formats");
        }
        Ok(Self {
            kind: kind.to_owned(),
            port,
            port_count: count,
            protocol: protocol.to_owned(),
            formats,
            ..Self::default()
        })
    }

    fn line(&self) -> String {
        let mut line = format!("{} {}", self.kind, self.port);
        if let Some(count) = self.port_count {
            line.push_str(&format!("/{count}"));
        }
        line.push(' ');
        line.push_str(&self.protocol);
        for format in &self.formats {
            line.push(' ');
            line.push_str(format);
        }
        line
    }

    pub fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    /// The first attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.is(name))
    }

    /// The `a=rtpmap` of a payload type; the first readable one counts.
    pub fn rtp_map(&self, payload_type: u8) -> Option<RtpMap<'_>> {
        self.attributes.iter().filter(|attribute| attribute.is("rtpmap")).find_map(|attribute| {
            let (format, map) = attribute.text()?.trim().split_once([' ', '\t'])?;
            if number(format)? != u32::from(payload_type) {
                return None;
            }
            let mut parts = map.trim().split('/');
            let encoding_name = parts.next()?.trim();
            let clock_rate_hz = number(parts.next()?.trim())?;
            let channels = parts.next().and_then(|text| number(text.trim())).unwrap_or(1);
            Some(RtpMap { encoding_name, clock_rate_hz, channels })
        })
    }

    /// The payload types of the `m=` line, in the offerer's order of preference.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + '_ {
        self.formats
            .iter()
            .filter_map(|format| number(format))
            .filter_map(|number| u8::try_from(number).ok())
            .filter(|payload_type| *payload_type < 128)
    }

    /// Every `a=crypto`, readable or not, in the offerer's order.
    pub fn cryptos(&self) -> impl Iterator<Item = Result<CryptoAttribute, CryptoProblem>> + '_ {
        self.attributes
            .iter()
            .filter(|attribute| attribute.is("crypto"))
            .map(|attribute| CryptoAttribute::parse(attribute.text().unwrap_or_default()))
    }

    /// `a=ptime` or `a=maxptime` in whole milliseconds; `None` when absent, zero or unreadable.
    pub fn milliseconds(&self, name: &str) -> Option<u32> {
        let text = self.attribute(name)?.text()?.trim();
        let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
        number(whole).filter(|milliseconds| *milliseconds > 0)
    }
}

impl Attribute {
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.as_bytes().to_vec(), value: Some(value.into().into_bytes()) }
    }

    /// An attribute without a value, such as `a=sendrecv`.
    pub fn flag(name: &str) -> Self {
        Self { name: name.as_bytes().to_vec(), value: None }
    }

    fn parse(value: &[u8]) -> Self {
        match value.iter().position(|byte| *byte == b':') {
            Some(colon) => Self {
                name: value.get(..colon).unwrap_or_default().to_vec(),
                value: Some(value.get(colon + 1..).unwrap_or_default().to_vec()),
            },
            None => Self { name: value.to_vec(), value: None },
        }
    }

    /// Attribute names are case-sensitive (RFC 8866 §9); some peers do not know.
    pub fn is(&self, name: &str) -> bool {
        trim(&self.name).eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value; `None` when there is none or it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.value.as_deref()?).ok()
    }
}

impl Origin {
    pub fn new(session_id: u64, session_version: u64, address: IpAddr) -> Self {
        let text = format!("- {session_id} {session_version} IN {}", typed(address));
        Self {
            text: text.into_bytes(),
            session_id: Some(session_id),
            session_version: Some(session_version),
        }
    }

    fn parse(value: &[u8]) -> Self {
        let mut words = value
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .skip(1)
            .map(|word| std::str::from_utf8(word).ok()?.parse().ok());
        let session_id = words.next().flatten();
        let session_version = words.next().flatten();
        Self { text: value.to_vec(), session_id, session_version }
    }
}

impl Connection {
    pub fn new(address: IpAddr) -> Self {
        Self { text: format!("IN {}", typed(address)).into_bytes(), address: Some(address) }
    }

    /// The literal decides, not the word `IP4` or `IP6` before it. A multicast suffix (`/127`) is
    /// read over.
    fn parse(value: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(value).map_err(|_| "not UTF-8")?;
        let mut words = text.split_ascii_whitespace();
        let network_type = words.next().ok_or("no network type")?;
        words.next().ok_or("no address type")?;
        let address = words.next().ok_or("no address")?;
        let literal = address.split_once('/').map_or(address, |(literal, _)| literal);
        let literal = literal.trim_start_matches('[').trim_end_matches(']');
        let address = match network_type.eq_ignore_ascii_case("IN") {
            true => literal.parse().ok().map(|address: IpAddr| address.to_canonical()),
            false => None,
        };
        Ok(Self { text: value.to_vec(), address })
    }
}

fn typed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("IP4 {address}"),
        IpAddr::V6(address) => format!("IP6 {address}"),
    }
}

/// The last direction written counts for nothing: the first does, as everywhere else here.
fn direction_in(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|attribute| {
        [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
            .into_iter()
            .find(|direction| attribute.is(direction_name(*direction)))
    })
}

/// The attribute that says it (RFC 8866 §6.7).
pub(super) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

/// Decimal digits only: no sign, no space.
pub(super) fn number(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Each line with its offset, without line end; blank lines are left out.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut offset = 0;
    body.split(|byte| *byte == b'\n')
        .map(move |line| {
            let start = offset;
            offset += line.len() + 1;
            let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
            (start, line.get(Range { start: 0, end }).unwrap_or_default())
        })
        .filter(|(_, line)| !trim(line).is_empty())
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

fn write_line(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push(kind);
    out.push(b'=');
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// `s i u e p c b t r z k`, then what nobody knows, then attributes. `r=` stays behind its `t=`.
fn write_section(
    out: &mut Vec<u8>,
    other: &[Line],
    connection: Option<&Connection>,
    attributes: &[Attribute],
) {
    const BEFORE: &[u8] = b"siuep";
    const AFTER: &[&[u8]] = &[b"c", b"b", b"tr", b"z", b"k"];
    let write_kinds = |out: &mut Vec<u8>, kinds: &[u8]| {
        for line in other.iter().filter(|line| kinds.contains(&line.kind)) {
            write_line(out, line.kind, &line.value);
        }
    };
    for kind in BEFORE {
        write_kinds(out, &[*kind]);
    }
    if let Some(connection) = connection {
        write_line(out, b'c', &connection.text);
    }
    for kinds in AFTER {
        write_kinds(out, kinds);
    }
    let known =
        |kind: u8| BEFORE.contains(&kind) || AFTER.iter().any(|kinds| kinds.contains(&kind));
    for line in other.iter().filter(|line| !known(line.kind)) {
        write_line(out, line.kind, &line.value);
    }
    for attribute in attributes {
        let mut value = attribute.name.clone();
        if let Some(text) = &attribute.value {
            value.push(b':');
            value.extend_from_slice(text);
        }
        write_line(out, b'a', &value);
    }
}

/// Lines and attributes whose value may be printed: none of them ever carries a key.
const PRINTABLE: [&str; 13] = [
    "rtpmap", "fmtp", "ptime", "maxptime", "sendrecv", "sendonly", "recvonly", "inactive", "rtcp",
    "rtcp-mux", "mid", "group", "setup",
];

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PRINTABLE.iter().find(|name| self.is(name)) {
            Some(name) => match self.text() {
                Some(text) => write!(f, "a={name}:{text:?}"),
                None => write!(f, "a={name}"),
            },
            // A key may hide behind any other name, or be the name itself.
            None if self.is("crypto") => f.write_str("a=crypto:…"),
            None => f.write_str("a=…"),
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            b's' | b't' | b'b' => {
                write!(f, "{}={:?}", char::from(self.kind), String::from_utf8_lossy(&self.value))
            }
            kind => write!(f, "{}=…", char::from(kind)),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "c={address}"),
            None => f.write_str("c=…"),
        }
    }
}
