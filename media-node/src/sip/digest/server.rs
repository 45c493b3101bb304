//! The side that challenges: makes nonces anybody with the pool's key can check, and judges answers.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};

use super::params::{Malformed, Params, malformed, quote};
use super::replay::{NonceId, Replay};
use super::{Algorithm, Inputs, hex};
use crate::random::Random;
use crate::sip::uri::Uri;

/// Nonces with a use on record, at most; one is some 60 bytes.
const REPLAY_CAPACITY: usize = 16_384;
/// How far the clock of the pod that made a nonce may run ahead of ours.
const CLOCK_SKEW_SECS: u64 = 60;
/// Time, random number and the first 16 bytes of the HMAC.
const NONCE_LEN_BYTES: usize = 32;

/// Challenges peers and checks what they answer, for one realm.
///
/// A nonce is `hex(time ‖ random ‖ HMAC-SHA256(pool key, time ‖ random ‖ realm)[..16])`: nothing is
/// kept for a challenge, and every pod with the key can check the nonces of the others. Kept, and
/// bounded, are only the nonce counts of those who answered correctly; a pod does not know the
/// counts used at another one, so a request copied to another pod is stopped by the age of its
/// nonce alone.
pub struct Authenticator {
    realm: String,
    key: hmac::Key,
    validity: Duration,
    replay: Replay,
}

impl Authenticator {
    /// `pool_key` is shared by the pods of a pool; `validity` is how long a nonce may be used.
    pub fn new(realm: &str, pool_key: &[u8], validity: Duration) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, pool_key);
        Self { realm: realm.to_owned(), key, validity, replay: Replay::new(REPLAY_CAPACITY) }
    }

    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The values of the `WWW-Authenticate` headers of one 401, one for each hash. With `stale` the
    /// peer may answer again without asking its user.
    // RFC 8760 §2.4 wants the stronger hash on top; but peers that read only the first challenge
    // (SIPp is one) give up on SHA-256, and those that know it look for it in all of them.
    pub fn challenge(&self, unix_secs: u64, stale: bool, random: &mut dyn Random) -> [String; 2] {
        let nonce = self.nonce((unix_secs, random.u64()));
        let realm = quote(&self.realm);
        let stale = if stale { ", stale=true" } else { "" };
        [Algorithm::Md5, Algorithm::Sha256].map(|algorithm| {
            let algorithm = algorithm.name();
            format!(
                "Digest realm={realm}, nonce=\"{nonce}\", algorithm={algorithm}, \
                 qop=\"auth\"{stale}"
            )
        })
    }

    /// The credentials meant for this realm among the `Authorization` values of a request; the
    /// stronger hash where a peer answered both challenges.
    pub fn find<'a>(
        &self,
        authorization: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Credentials>, Malformed> {
        let mut best: Option<Credentials> = None;
        for value in authorization {
            if let Some(it) = Credentials::parse(value)?
                && it.realm == self.realm
                && best.as_ref().is_none_or(|best| it.algorithm > best.algorithm)
            {
                best = Some(it);
            }
        }
        Ok(best)
    }

    /// Judges one answer, and returns the user it belongs to.
    ///
    /// `password` finds the password of a user name. The hash is compared before the nonce is
    /// looked at, so [`Rejected::Stale`] and [`Rejected::Replayed`] say that the peer knows the
    /// password, and only such peers ever fill the table of nonce counts.
    pub fn verify<'a, P: AsRef<[u8]>>(
        &mut self,
        unix_secs: u64,
        method: &str,
        uri: &Uri,
        credentials: &'a Credentials,
        password: impl FnOnce(&str) -> Option<P>,
    ) -> Result<&'a str, Rejected> {
        if credentials.realm != self.realm {
            return Err(Rejected::Wrong);
        }
        if !same_user(uri, &credentials.uri) {
            // RFC 7616 §3.4.6: an attacker may have put another target into the request.
            return Err(Rejected::Malformed(malformed("uri", "names another target")));
        }
        let password = password(&credentials.username);
        // An unknown user costs the same time as a wrong password.
        let known = password.is_some();
        let expected = Inputs {
            algorithm: credentials.algorithm,
            session: false,
            username: &credentials.username,
            realm: &self.realm,
            password: password.as_ref().map_or(b"".as_slice(), AsRef::as_ref),
            method,
            uri: &credentials.uri,
            nonce: &credentials.nonce,
            quality: Some((&credentials.nonce_count_text, &credentials.cnonce)),
        }
        .response();
        let given = credentials.response.to_ascii_lowercase();
        let equal =
            constant_time::verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_ok();
        if !(equal && known) {
            return Err(Rejected::Wrong);
        }

        let validity_secs = self.validity.as_secs();
        self.replay.expire(unix_secs.saturating_sub(validity_secs));
        let nonce = self.own_nonce(&credentials.nonce).ok_or(Rejected::Stale)?;
        let (made, _) = nonce;
        if unix_secs > made.saturating_add(validity_secs) || made > unix_secs + CLOCK_SKEW_SECS {
            return Err(Rejected::Stale);
        }
        if !self.replay.take(nonce, credentials.nonce_count) {
            return Err(Rejected::Replayed);
        }
        Ok(&credentials.username)
    }

    /// Nonces whose counts are on record.
    pub fn nonces_on_record(&self) -> usize {
        self.replay.len()
    }

    fn nonce(&self, (made, random): NonceId) -> String {
        let mut bytes = [0; NONCE_LEN_BYTES];
        let tag = self.tag(made, random);
        let parts = made.to_be_bytes().into_iter().chain(random.to_be_bytes()).chain(tag);
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        hex(&bytes)
    }

    /// `None` when no pod of this pool made the nonce.
    fn own_nonce(&self, text: &str) -> Option<NonceId> {
        if text.len() != 2 * NONCE_LEN_BYTES || !text.is_ascii() {
            return None;
        }
        let (made, rest) = text.split_at_checked(16)?;
        let (random, _) = rest.split_at_checked(16)?;
        let id = (u64::from_str_radix(made, 16).ok()?, u64::from_str_radix(random, 16).ok()?);
        let ours = self.nonce(id);
        constant_time::verify_slices_are_equal(ours.as_bytes(), text.as_bytes()).ok()?;
        Some(id)
    }

    fn tag(&self, made: u64, random: u64) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"trunkline digest nonce\0");
        context.update(&made.to_be_bytes());
        context.update(&random.to_be_bytes());
        context.update(self.realm.as_bytes());
        let mut tag = [0; 16];
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }
}

/// Why credentials were not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("malformed credentials: {0}")]
    Malformed(Malformed),
    /// No such user, another realm, or not the hash of its password.
    #[error("wrong user or password")]
    Wrong,
    /// The password is right; the nonce is too old, or not of this pool.
    #[error("stale nonce")]
    Stale,
    /// The password is right; this nonce count was used before.
    #[error("nonce count used before")]
    Replayed,
}

impl Rejected {
    /// 400 for what no user can mend, 401 with a fresh challenge for the rest.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Wrong | Self::Stale | Self::Replayed => 401,
        }
    }

    /// Whether the fresh challenge should say `stale=true`.
    pub fn stale(&self) -> bool {
        matches!(self, Self::Stale | Self::Replayed)
    }

    pub fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_credentials",
            Self::Wrong => "wrong_credentials",
            Self::Stale => "stale_nonce",
            Self::Replayed => "replayed_nonce",
        }
    }
}

/// One `Authorization` value for `Digest` with `qop=auth`. Its `Debug` shows the realm alone.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    cnonce: String,
    nonce_count: u32,
    nonce_count_text: String,
}

impl Credentials {
    /// `Ok(None)` when the scheme is not `Digest` or the algorithm is none that we offer.
    pub fn parse(value: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(params) = Params::parse(value)? else { return Ok(None) };
        let algorithm = match params.text("algorithm") {
            None => Algorithm::Md5,
            Some(name) => match Algorithm::from_name(name) {
                Some(known) => known,
                None => return Ok(None),
            },
        };
        if params.text("userhash").is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return Err(malformed("userhash", "was not offered"));
        }
        // RFC 3261 §22.4: who is offered qop must use it; without it a copied request could be
        // played again for as long as the nonce lives.
        if !params.need("qop")?.eq_ignore_ascii_case("auth") {
            return Err(malformed("qop", "was not offered"));
        }
        let nonce_count_text = params.need("nc")?;
        let digits = nonce_count_text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if nonce_count_text.len() != 8 || !digits {
            return Err(malformed("nc", "not eight hex digits"));
        }
        let Ok(nonce_count @ 1..) = u32::from_str_radix(nonce_count_text, 16) else {
            return Err(malformed("nc", "counts from one"));
        };
        Ok(Some(Self {
            username: params.need("username")?.to_owned(),
            realm: params.need("realm")?.to_owned(),
            nonce: params.need("nonce")?.to_owned(),
            uri: params.need("uri")?.to_owned(),
            response: params.need("response")?.to_owned(),
            algorithm,
            cnonce: params.need("cnonce")?.to_owned(),
            nonce_count,
            nonce_count_text: nonce_count_text.to_owned(),
        }))
    }

    /// Who the peer says it is; nothing until [`Authenticator::verify`] agrees.
    pub fn username(&self) -> &str {
        &self.username
    }

    pub fn realm(&self) -> &str {
        &self.realm
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// Whether the `uri` parameter names the user the request asks for. Only the user part counts:
/// session border controllers rewrite hosts and parameters, and it is the user part that is dialled.
/// A `uri` with no user names the server alone, as SIPp and some gateways sign every request.
fn same_user(uri: &Uri, digest_uri: &str) -> bool {
    Uri::parse(digest_uri.as_bytes())
        .is_ok_and(|signed| signed.user.is_none() || signed.user_text() == uri.user_text())
}
