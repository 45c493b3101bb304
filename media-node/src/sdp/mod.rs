//! Session descriptions (RFC 8866), what an offer and our policy have in common (RFC 3264), and
//! the keys that travel in them (SDES, RFC 4568 with the suites of RFC 6188 and RFC 7714).
//!
//! ```text
//! bytes ──parse──▶ SessionDescription ──negotiate(Policy)──▶ Agreed ──answer──▶ SessionDescription ──write──▶ bytes
//!                                          │                    │
//!                                          └▶ Unacceptable      └─reoffer──▶ Reoffer { change, agreed }
//! ```
//!
//! Reading is tolerant, writing is strict: a line that nobody understands is kept and does no harm,
//! an attribute is read only when somebody asks for it. Keys never show in `Debug` or in a reason.

mod crypto;
mod description;
mod negotiate;
mod reoffer;
#[cfg(test)]
mod tests;

pub use crypto::{CryptoAttribute, CryptoProblem};
pub use description::{
    Attribute, Connection, Line, MAX_FORMATS, MAX_LEN_BYTES, MAX_LINE_LEN_BYTES, MAX_LINES,
    MAX_MEDIA, Malformed, MediaDescription, Origin, RtpMap, SessionDescription,
};
pub use negotiate::{
    Agreed, Crypto, Encryption, LocalAddress, Policy, Reason, TelephoneEvent, Unacceptable,
    negotiate,
};
pub use reoffer::{Change, Reoffer, reoffer};
