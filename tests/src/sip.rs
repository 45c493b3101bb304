//! As much SIP as a caller needs: texts from templates, answers read leniently.

use std::fmt::Write;
use std::net::SocketAddr;

/// One message, header names in lower case and compact forms spelled out.
#[derive(Clone, Debug)]
pub struct Message {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Message {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (long_name(name), value.trim().to_owned()))
            .collect();
        Some(Self { start, headers, body: body.to_owned() })
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }

    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Status of a response; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// Method of the request, or of the request that is answered.
    pub fn method(&self) -> &str {
        match self.status() {
            Some(_) => self.header("cseq").split_ascii_whitespace().nth(1).unwrap_or_default(),
            None => self.start.split(' ').next().unwrap_or_default(),
        }
    }

    /// A plain response to this request.
    pub fn response(&self, status: &str, contact: Option<(&str, &str)>) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for (name, value) in &self.headers {
            if matches!(name.as_str(), "via" | "from" | "to" | "call-id" | "cseq") {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let body = contact.map_or("", |(contact, body)| {
            let _ = write!(text, "Contact: {contact}\r\nContent-Type: application/sdp\r\n");
            body
        });
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        text
    }
}

fn long_name(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        "v" => "via".to_owned(),
        "f" => "from".to_owned(),
        "t" => "to".to_owned(),
        "i" => "call-id".to_owned(),
        "m" => "contact".to_owned(),
        "l" => "content-length".to_owned(),
        _ => name,
    }
}

/// Takes one whole message off the front of a stream's bytes.
pub fn take_message(buffer: &mut Vec<u8>) -> Option<Message> {
    let blank = buffer.iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
    buffer.drain(..blank);
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let length: usize =
        Message::parse(&buffer[..head])?.header("content-length").parse().unwrap_or(0);
    if buffer.len() < head + length {
        return None;
    }
    Message::parse(&buffer.drain(..head + length).collect::<Vec<u8>>())
}

/// The caller's side of one call's signalling.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// `UDP`, `TCP` or `TLS`, as Via spells it.
    pub transport: &'static str,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub caller: String,
    pub called: String,
    pub call_id: String,
    pub tag: String,
    pub branch: String,
    /// To as the callee has completed it, its Contact and its route set; empty before the answer.
    pub to: String,
    pub target: String,
    pub routes: Vec<String>,
}

impl Dialog {
    fn uri(&self) -> String {
        format!("sip:{}@{}{}", self.called, self.remote, self.parameter())
    }

    fn parameter(&self) -> String {
        match self.transport {
            "UDP" => String::new(),
            other => format!(";transport={}", other.to_ascii_lowercase()),
        }
    }

    pub fn contact(&self) -> String {
        format!("<sip:{}@{}{}>", self.caller, self.local, self.parameter())
    }

    pub fn invite(&self, sdp: &str) -> String {
        format!(
            "{}Contact: {}\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            self.head("INVITE", 1, &self.uri(), &self.branch),
            self.contact(),
            sdp.len()
        )
    }

    /// ACK of a final response that is not a 2xx: the same transaction.
    pub fn ack_of_failure(&self) -> String {
        format!("{}Content-Length: 0\r\n\r\n", self.head("ACK", 1, &self.uri(), &self.branch))
    }

    /// ACK of a 2xx or a BYE: within the dialog.
    pub fn within(&self, method: &str, cseq: u32, branch: &str) -> String {
        self.routed_head(method, cseq, branch) + "Content-Length: 0\r\n\r\n"
    }

    /// INVITE within the dialog (RFC 3261 §14).
    pub fn reinvite(&self, cseq: u32, branch: &str, sdp: &str) -> String {
        format!(
            "{}Contact: {}\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            self.routed_head("INVITE", cseq, branch),
            self.contact(),
            sdp.len()
        )
    }

    /// Takes tag, target and routes from the 2xx.
    pub fn answered(&mut self, ok: &Message) {
        self.to = ok.header("to").to_owned();
        let contact = ok.header("contact");
        let inner = contact.split_once('<').map_or(contact, |(_, rest)| rest);
        self.target = inner.split('>').next().unwrap_or_default().to_owned();
        self.routes = ok.values("record-route").map(str::to_owned).collect();
        self.routes.reverse();
    }

    fn routed_head(&self, method: &str, cseq: u32, branch: &str) -> String {
        let mut text = self.head(method, cseq, &self.target, branch);
        for route in &self.routes {
            let _ = write!(text, "Route: {route}\r\n");
        }
        text
    }

    fn head(&self, method: &str, cseq: u32, uri: &str, branch: &str) -> String {
        let Self { transport, local, remote, caller, called, call_id, tag, .. } = self;
        let to =
            if self.to.is_empty() { format!("<sip:{called}@{remote}>") } else { self.to.clone() };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch={branch};rport\r\nMax-Forwards: 70\r\nFrom: <sip:{caller}@{local}>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nUser-Agent: trunkline-load\r\n"
        )
    }
}
