//! Via: the way back (RFC 3261 §20.42, RFC 3581).

use std::net::IpAddr;

use super::super::scan::{self, Fault, Scanner};
use super::super::{HeaderValue, Params};
use super::Branch;
use crate::sip::{Host, Transport};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ViaTransport {
    Udp,
    Tcp,
    Tls,
    Sctp,
    Ws,
    Wss,
    /// As it came.
    Other(String),
}

impl ViaTransport {
    fn parse(token: &[u8]) -> Self {
        let all = [Self::Udp, Self::Tcp, Self::Tls, Self::Sctp, Self::Ws, Self::Wss];
        let known =
            all.into_iter().find(|known| token.eq_ignore_ascii_case(known.as_str().as_bytes()));
        known.unwrap_or_else(|| Self::Other(scan::ascii(token).to_owned()))
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Sctp => "SCTP",
            Self::Ws => "WS",
            Self::Wss => "WSS",
            Self::Other(token) => token,
        }
    }
}

impl From<Transport> for ViaTransport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tcp => Self::Tcp,
            Transport::Tls => Self::Tls,
        }
    }
}

/// One Via value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Via {
    pub transport: ViaTransport,
    pub host: Host,
    pub port: Option<u16>,
    pub branch: Option<Branch>,
    /// Where it really came from. A `received` that is no address stays in `params`.
    pub received: Option<IpAddr>,
    /// `Some(None)`: asked for (RFC 3581 §3); `Some(Some(port))`: filled in.
    pub rport: Option<Option<u16>>,
    /// All others: `maddr`, `ttl`, `alias` …
    pub params: Params,
}

impl Via {
    /// What we put on a request of our own: `sent_by` and a branch, and `rport` asked for.
    pub fn new(transport: Transport, host: Host, port: Option<u16>, branch: Branch) -> Self {
        Self {
            transport: transport.into(),
            host,
            port,
            branch: Some(branch),
            received: None,
            rport: Some(None),
            params: Params::new(),
        }
    }

    /// `host` or `host:port`, lower case: what tells two clients with one branch apart (RFC 3261
    /// §17.2.3).
    pub fn sent_by(&self) -> String {
        let mut out = Vec::new();
        self.write_sent_by(&mut out);
        scan::ascii(&out).to_ascii_lowercase()
    }

    pub fn parse(value: &[u8]) -> Result<Self, super::super::Malformed> {
        Self::read(value).map_err(|fault| super::super::Malformed::new("Via", fault))
    }

    pub(in super::super) fn read(value: &[u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(value);
        let protocol = scanner.token()?;
        let slash = scanner.eat_separator(b'/');
        let version = scanner.token()?;
        if !slash || !protocol.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
            return Err(Fault::at(0, "expected SIP/2.0"));
        }
        if !scanner.eat_separator(b'/') {
            return Err(scanner.fault("expected a slash and a transport"));
        }
        let transport = ViaTransport::parse(scanner.token()?);
        if !scanner.peek().is_some_and(scan::is_lws) {
            return Err(scanner.fault("expected a space after the transport"));
        }
        scanner.skip_lws();
        let host = Host::read(&mut scanner)?;
        let port = if scanner.eat_separator(b':') { Some(read_port(&mut scanner)?) } else { None };
        let (mut branch, mut received, mut rport) = (None, None, None);
        let params = Params::parse_others(&mut scanner, |name, value| {
            if name.eq_ignore_ascii_case(b"branch") {
                let read = Branch::parse(value.unwrap_or_default());
                let read = read.map_err(|_| "the branch cannot be read")?;
                return match branch.replace(read) {
                    None => Ok(true),
                    Some(_) => Err("there are two branches"),
                };
            }
            if name.eq_ignore_ascii_case(b"rport") {
                let read = match value {
                    None | Some(b"") => None,
                    Some(digits) => Some(port_number(digits).ok_or("rport is not a port")?),
                };
                rport.get_or_insert(read);
                return Ok(true);
            }
            if name.eq_ignore_ascii_case(b"received") && received.is_none() {
                let text = value.and_then(|raw| std::str::from_utf8(raw).ok()).unwrap_or_default();
                received = text.trim_start_matches('[').trim_end_matches(']').parse().ok();
                return Ok(received.is_some());
            }
            Ok(false)
        })?;
        Ok(Self { transport, host, port, branch, received, rport, params })
    }

    fn write_sent_by(&self, out: &mut Vec<u8>) {
        self.host.write_to(out);
        if let Some(port) = self.port {
            out.push(b':');
            out.extend_from_slice(port.to_string().as_bytes());
        }
    }

    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.extend_from_slice(b"SIP/2.0/");
        match scan::token_text(self.transport.as_str().as_bytes()) {
            Some(token) => out.extend_from_slice(token.as_bytes()),
            None => out.extend_from_slice(b"UDP"),
        }
        out.push(b' ');
        self.write_sent_by(&mut out);
        if let Some(branch) = &self.branch {
            out.extend_from_slice(b";branch=");
            out.extend_from_slice(branch.as_str().as_bytes());
        }
        if let Some(received) = self.received {
            // RFC 3261 §25.1: an IPv6 address in `received` has no brackets.
            out.extend_from_slice(format!(";received={received}").as_bytes());
        }
        match self.rport {
            None => {}
            Some(None) => out.extend_from_slice(b";rport"),
            Some(Some(port)) => out.extend_from_slice(format!(";rport={port}").as_bytes()),
        }
        self.params.write_to(&mut out);
        out
    }
}

impl From<&Via> for HeaderValue {
    fn from(via: &Via) -> Self {
        via.write().into()
    }
}

fn port_number(digits: &[u8]) -> Option<u16> {
    scan::number(digits)?.try_into().ok()
}

fn read_port(scanner: &mut Scanner<'_>) -> Result<u16, Fault> {
    let at = scanner.at();
    let digits = scanner.take_while(|byte| byte.is_ascii_digit());
    port_number(digits).ok_or_else(|| Fault::at(at, "expected a port"))
}
