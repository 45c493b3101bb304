//! Header values with a meaning. Each owns its text.

mod name_addr;
mod reason;
mod via;

pub use name_addr::NameAddr;
pub use reason::{Reason, warning};
pub use via::{Via, ViaTransport};

use std::fmt;

use super::scan::{self, Fault, Scanner};
use super::{HeaderValue, Method, Params};

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// `None` unless it is visible ASCII without what would end the value:
            /// `"`, `,`, `;`, `<`, `>`.
            pub fn new(text: &str) -> Option<Self> {
                Self::parse(text.as_bytes()).ok()
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
                Self::check(bytes)?;
                Ok(Self(scan::ascii(bytes).to_owned()))
            }

            fn check(bytes: &[u8]) -> Result<(), Fault> {
                let fits = |byte: &u8| byte.is_ascii() && scan::is_param_value(*byte);
                match bytes.iter().position(|byte| !fits(byte)) {
                    None if bytes.is_empty() => Err(Fault::at(0, "is empty")),
                    None => Ok(()),
                    Some(at) => Err(Fault::at(at, "has a letter that may not be in it")),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// A From or To tag (RFC 3261 §19.3), compared byte for byte.
    Tag
}

text! {
    /// A Via branch, which names a transaction (RFC 3261 §8.1.1.7), compared byte for byte.
    Branch
}

impl Branch {
    /// What a branch made by the rules of RFC 3261 begins with.
    pub const MAGIC_COOKIE: &str = "z9hG4bK";

    /// Unique by itself: the cookie and something after it. Without it a transaction is matched by
    /// the older rules (RFC 3261 §17.2.3, RFC 4475 §3.2.1).
    pub fn is_rfc3261(&self) -> bool {
        self.0.len() > Self::MAGIC_COOKIE.len() && self.0.starts_with(Self::MAGIC_COOKIE)
    }
}

/// A Call-ID, compared byte for byte (RFC 3261 §20.8). Any visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(String);

impl CallId {
    pub fn new(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes()).ok()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(value: &[u8]) -> Result<Self, Fault> {
        match scan::visible_text(value) {
            Some(text) => Ok(Self(text.to_owned())),
            None if value.is_empty() => Err(Fault::at(0, "is empty")),
            None => Err(Fault::at(0, "has white space or bytes above 127 in it")),
        }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&CallId> for HeaderValue {
    fn from(call_id: &CallId) -> Self {
        call_id.as_str().into()
    }
}

/// A sequence number and the method it counts (RFC 3261 §20.16). We count below 2³¹, as §8.1.1.5
/// asks, and accept all that fits 32 bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CSeq {
    pub seq: u32,
    pub method: Method,
}

impl CSeq {
    pub(super) fn parse(value: &[u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(value);
        let digits = scanner.take_while(|byte| byte.is_ascii_digit());
        let seq = scan::number(digits)
            .ok_or_else(|| Fault::at(0, "expected a number"))?
            .try_into()
            .map_err(|_| Fault::at(0, "the number does not fit 32 bits"))?;
        if !scanner.peek().is_some_and(scan::is_lws) {
            return Err(scanner.fault("expected a space after the number"));
        }
        scanner.skip_lws();
        let token = scanner.token()?;
        scanner.expect_done()?;
        let method = Method::parse(token).ok_or_else(|| scanner.fault("expected a method"))?;
        Ok(Self { seq, method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seq, self.method)
    }
}

impl From<&CSeq> for HeaderValue {
    fn from(cseq: &CSeq) -> Self {
        cseq.to_string().into()
    }
}

/// `type/subtype` in lower case, and parameters (RFC 3261 §20.15).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MediaType {
    pub kind: String,
    pub subtype: String,
    pub params: Params,
}

impl MediaType {
    /// `kind` and `subtype` in any case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }

    pub(super) fn parse(value: &[u8]) -> Result<Self, Fault> {
        let mut scanner = Scanner::new(value);
        let kind = scan::ascii(scanner.token()?).to_ascii_lowercase();
        if !scanner.eat_separator(b'/') {
            return Err(scanner.fault("expected a slash"));
        }
        let subtype = scan::ascii(scanner.token()?).to_ascii_lowercase();
        let params = Params::parse(&mut scanner)?;
        Ok(Self { kind, subtype, params })
    }
}

impl From<&MediaType> for HeaderValue {
    fn from(media: &MediaType) -> Self {
        let mut out = format!("{}/{}", media.kind, media.subtype).into_bytes();
        media.params.write_to(&mut out);
        out.into()
    }
}
