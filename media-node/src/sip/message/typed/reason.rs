//! Why, for machines and for people: Reason (RFC 3326) and Warning (RFC 3261 §20.43).

use super::super::scan::{self, Fault, Scanner};
use super::super::{HeaderValue, Malformed, Params};

/// One Reason value: `Q.850;cause=16;text="Normal call clearing"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    /// `SIP`, `Q.850` or another token.
    pub protocol: String,
    pub cause: Option<u16>,
    pub text: Option<String>,
}

impl Reason {
    pub fn sip(cause: u16, text: &str) -> Self {
        Self { protocol: "SIP".to_owned(), cause: Some(cause), text: Some(text.to_owned()) }
    }

    pub fn q850(cause: u16, text: &str) -> Self {
        Self { protocol: "Q.850".to_owned(), cause: Some(cause), text: Some(text.to_owned()) }
    }

    pub fn parse(value: &[u8]) -> Result<Self, Malformed> {
        Self::read(value).map_err(|fault| Malformed::new("Reason", fault))
    }

    pub(in super::super) fn read(value: &[u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(value);
        let protocol = scan::ascii(scanner.token()?).to_owned();
        let params = Params::parse(&mut scanner)?;
        let cause = params.get("cause").flatten().map(|raw| scan::unquote(raw).into_owned());
        let cause = cause
            .map(|digits| scan::number(&digits).and_then(|cause| cause.try_into().ok()))
            .map(|cause| cause.ok_or_else(|| scanner.fault("the cause is not a number")))
            .transpose()?;
        let text = params.text("text").map(std::borrow::Cow::into_owned);
        Ok(Self { protocol, cause, text })
    }
}

impl From<&Reason> for HeaderValue {
    fn from(reason: &Reason) -> Self {
        let protocol = scan::token_text(reason.protocol.as_bytes()).unwrap_or("SIP");
        let mut out = protocol.as_bytes().to_vec();
        if let Some(cause) = reason.cause {
            out.extend_from_slice(format!(";cause={cause}").as_bytes());
        }
        if let Some(text) = &reason.text {
            out.extend_from_slice(b";text=");
            scan::write_quoted(&mut out, text.as_bytes());
        }
        out.into()
    }
}

/// A Warning value: `399 agent "text"`. `code` is of RFC 3261 §20.43 (399 for anything else),
/// `agent` a host or a token that names us.
pub fn warning(code: u16, agent: &str, text: &str) -> HeaderValue {
    let fits = |byte: u8| scan::is_token(byte) || matches!(byte, b'[' | b']' | b':');
    let agent = if !agent.is_empty() && agent.bytes().all(fits) { agent } else { "-" };
    let mut out = format!("{:03} {agent} ", code.min(999)).into_bytes();
    scan::write_quoted(&mut out, text.as_bytes());
    out.into()
}
