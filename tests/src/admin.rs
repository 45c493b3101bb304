//! The node's admin HTTP, asked with as little HTTP as will do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Status and body of one request. HTTP/1.0, so that the body ends with the connection.
pub fn request(address: SocketAddr, method: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP status line"))?;
    Ok((status, body.to_owned()))
}

/// A node's admin address.
#[derive(Clone, Copy, Debug)]
pub struct Admin(pub SocketAddr);

impl Admin {
    pub fn is_ready(self) -> bool {
        matches!(request(self.0, "GET", "/readyz"), Ok((200, _)))
    }

    /// The JSON at `path`; `None` when it is not there.
    pub fn json(self, path: &str) -> Option<Value> {
        let (status, body) = request(self.0, "GET", path).ok()?;
        (status == 200).then(|| serde_json::from_str(&body).expect("the admin API speaks JSON"))
    }

    /// All calls the node still knows, ended ones included.
    pub fn calls(self) -> Vec<Value> {
        self.json("/v1/calls")
            .and_then(|value| value.get("items")?.as_array().cloned())
            .unwrap_or_default()
    }

    /// The call with this SIP Call-ID.
    pub fn call_with_sip_id(self, sip_call_id: &str) -> Option<Value> {
        self.calls().into_iter().find(|call| call["sipCallId"] == sip_call_id)
    }

    /// Calls in that state (`Trying`, `Ringing`, `Active`, `Ended`).
    pub fn calls_in(self, state: &str) -> Vec<Value> {
        self.calls().into_iter().filter(|call| call["state"] == state).collect()
    }

    pub fn hang_up(self, id: &str) -> u16 {
        request(self.0, "DELETE", &format!("/v1/calls/{id}")).map_or(0, |(status, _)| status)
    }

    pub fn status(self) -> Value {
        self.json("/v1/status").unwrap_or_default()
    }

    /// Kind and name of every object the node has left out or kept at its last good version.
    pub fn rejected(self) -> Vec<(String, String)> {
        let status = self.status();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        status["rejected"]
            .as_array()
            .map(|all| all.iter().map(|one| (text(&one["kind"]), text(&one["name"]))).collect())
            .unwrap_or_default()
    }

    pub fn metrics(self) -> String {
        request(self.0, "GET", "/metrics").map(|(_, body)| body).unwrap_or_default()
    }
}
