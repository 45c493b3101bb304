//! The side that is challenged.

use super::params::{Malformed, Params, quote};
use super::{Algorithm, Inputs};

/// One `WWW-Authenticate` or `Proxy-Authenticate` value for `Digest`.
#[derive(Clone, Debug)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub algorithm: Algorithm,
    /// `MD5-sess` or `SHA-256-sess`.
    pub session: bool,
    /// The peer refused only the nonce; the password was right.
    pub stale: bool,
    quality: Quality,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quality {
    /// No `qop` at all, as RFC 2069 had it.
    Absent,
    Auth,
}

/// The challenge is well-formed, but asks for what we do not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("not a Digest challenge")]
    Scheme,
    #[error("unknown digest algorithm")]
    Algorithm,
    #[error("digest without qop=auth")]
    Quality,
}

impl Challenge {
    pub fn parse(value: &[u8]) -> Result<Self, Unanswerable> {
        let params = Params::parse(value)?.ok_or(Unanswerable::Scheme)?;
        let name = params.text("algorithm").unwrap_or("MD5");
        let (name, session) = match name.len().checked_sub("-sess".len()) {
            Some(at) if name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case("-sess")) => {
                (name.get(..at).unwrap_or_default(), true)
            }
            _ => (name, false),
        };
        let quality = match params.text("qop") {
            None => Quality::Absent,
            Some(offered) => offered
                .split(',')
                .any(|it| it.trim().eq_ignore_ascii_case("auth"))
                .then_some(Quality::Auth)
                .ok_or(Unanswerable::Quality)?,
        };
        if session && quality == Quality::Absent {
            // RFC 7616 §3.4.2 hashes a cnonce, which without qop there is none of.
            return Err(Unanswerable::Quality);
        }
        Ok(Self {
            realm: params.need("realm")?.to_owned(),
            nonce: params.need("nonce")?.to_owned(),
            opaque: params.text("opaque").map(str::to_owned),
            algorithm: Algorithm::from_name(name).ok_or(Unanswerable::Algorithm)?,
            session,
            stale: params.text("stale").is_some_and(|it| it.eq_ignore_ascii_case("true")),
            quality,
        })
    }
}

/// The challenge to answer among those of one 401 or 407: the strongest hash we speak, whatever the
/// order (RFC 8760 §2.4 asks for the topmost; a downgrade then would be the server's own wish).
pub fn strongest<'a>(challenges: impl IntoIterator<Item = &'a [u8]>) -> Option<Challenge> {
    let mut best: Option<Challenge> = None;
    for challenge in challenges.into_iter().filter_map(|value| Challenge::parse(value).ok()) {
        if best.as_ref().is_none_or(|best| challenge.algorithm > best.algorithm) {
            best = Some(challenge);
        }
    }
    best
}

/// What the answer to a challenge is made of. Holds a password, so it is never printed.
pub struct Answer<'a> {
    pub method: &'a str,
    /// The Request-URI as it is written in the request line.
    pub uri: &'a str,
    pub username: &'a str,
    pub password: &'a [u8],
    /// Ours, fresh for each answer.
    pub cnonce: &'a str,
    /// How often this nonce was answered, this time included: 1 the first time.
    pub nonce_count: u32,
}

/// The value of the `Authorization` or `Proxy-Authorization` header (RFC 7616 §3.4).
pub fn answer(challenge: &Challenge, with: &Answer<'_>) -> String {
    let count = format!("{:08x}", with.nonce_count);
    let response = Inputs {
        algorithm: challenge.algorithm,
        session: challenge.session,
        username: with.username,
        realm: &challenge.realm,
        password: with.password,
        method: with.method,
        uri: with.uri,
        nonce: &challenge.nonce,
        quality: (challenge.quality == Quality::Auth).then_some((&count, with.cnonce)),
    }
    .response();
    let mut value = format!(
        "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}{}",
        quote(with.username),
        quote(&challenge.realm),
        quote(&challenge.nonce),
        quote(with.uri),
        challenge.algorithm.name(),
        if challenge.session { "-sess" } else { "" },
    );
    if let Some(opaque) = &challenge.opaque {
        value.push_str(&format!(", opaque={}", quote(opaque)));
    }
    if challenge.quality == Quality::Auth {
        value.push_str(&format!(", qop=auth, nc={count}, cnonce={}", quote(with.cnonce)));
    }
    value
}
