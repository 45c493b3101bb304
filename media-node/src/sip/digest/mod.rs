//! Digest access authentication (RFC 3261 §22, RFC 7616, RFC 8760): MD5 and SHA-256, `qop=auth`.
//!
//! ```text
//! server: Authenticator ── challenge() ──▶ WWW-Authenticate ▶ peer
//!         Authenticator ◀── verify(Credentials) ── Authorization ◀ peer
//! client: Challenge::parse ◀ WWW-Authenticate;  answer() ──▶ Authorization
//! ```
//!
//! Neither side keeps a password, and nothing here prints one: `Debug` of [`Credentials`] hides all
//! that could be replayed or cracked.

#![warn(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

mod client;
mod params;
mod replay;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Answer, Challenge, Unanswerable, answer, strongest};
pub use params::Malformed;
pub use server::{Authenticator, Credentials, Rejected};

use std::fmt::Write as _;

use aws_lc_rs::digest;
use md5::Digest as _;

/// A hash that digest authentication may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// The value of the `algorithm` parameter.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|it| it.name().eq_ignore_ascii_case(name))
    }

    /// The hash of the parts joined by colons, as lower-case hex: the `H` and `KD` of RFC 7616 §3.3.
    fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 => {
                let mut hasher = md5::Md5::new();
                joined(parts, |bytes| hasher.update(bytes));
                hex(&hasher.finalize())
            }
            Self::Sha256 => {
                let mut hasher = digest::Context::new(&digest::SHA256);
                joined(parts, |bytes| hasher.update(bytes));
                hex(hasher.finish().as_ref())
            }
        }
    }
}

fn joined(parts: &[&[u8]], mut update: impl FnMut(&[u8])) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            update(b":");
        }
        update(part);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the `response` parameter is computed from (RFC 7616 §3.4.1).
struct Inputs<'a> {
    algorithm: Algorithm,
    /// `-sess`: the session key is hashed with both nonces (RFC 7616 §3.4.2).
    session: bool,
    username: &'a str,
    realm: &'a str,
    password: &'a [u8],
    method: &'a str,
    uri: &'a str,
    nonce: &'a str,
    /// `None` is the digest of RFC 2069, without `qop`.
    quality: Option<(&'a str, &'a str)>,
}

impl Inputs<'_> {
    /// The response as lower-case hex; `quality` is (nonce count as eight hex digits, cnonce).
    fn response(&self) -> String {
        let h = |parts: &[&[u8]]| self.algorithm.hash(parts);
        let mut a1 = h(&[self.username.as_bytes(), self.realm.as_bytes(), self.password]);
        if self.session {
            let cnonce = self.quality.map_or("", |(_, cnonce)| cnonce);
            a1 = h(&[a1.as_bytes(), self.nonce.as_bytes(), cnonce.as_bytes()]);
        }
        let a2 = h(&[self.method.as_bytes(), self.uri.as_bytes()]);
        let (a1, nonce, a2) = (a1.as_bytes(), self.nonce.as_bytes(), a2.as_bytes());
        match self.quality {
            Some((count, cnonce)) => {
                h(&[a1, nonce, count.as_bytes(), cnonce.as_bytes(), b"auth", a2])
            }
            None => h(&[a1, nonce, a2]),
        }
    }
}
