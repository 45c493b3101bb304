//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3), and which request is a
//! second copy of another (§8.2.2.2).

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::sip::{Branch, CSeq, CallId, Host, Method, Request, Response, Tag, Uri, Via};

/// What all copies of one request have in common, its ACK (of a non-2xx) included.
///
/// RFC 3261 takes branch, sent-by and method. Call-ID and CSeq number stand beside them because
/// they are the same wherever those are, and they keep apart the requests of a peer that uses one
/// branch for everything, and our answers from a peer that guessed a branch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ServerKey {
    /// INVITE for an ACK.
    method: Method,
    call_id: CallId,
    seq: u32,
    sent_by: (Host, Option<u16>),
    matching: Matching,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Matching {
    Branch(Branch),
    /// A peer of RFC 2543: no branch, or one without the magic cookie.
    Rfc2543(Box<Rfc2543>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rfc2543 {
    uri: Uri,
    from_tag: Option<Tag>,
    to_tag: Option<Tag>,
    via: Via,
}

impl ServerKey {
    /// The same but for the method: what a CANCEL cancels.
    pub(super) fn for_method(&self, method: Method) -> Self {
        Self { method, ..self.clone() }
    }

    /// For the ACK of an RFC 2543 peer, whose To tag is ours while the INVITE had none.
    pub(super) fn without_to_tag(&self) -> Option<Self> {
        let Matching::Rfc2543(matching) = &self.matching else { return None };
        let matching = Matching::Rfc2543(Box::new(Rfc2543 { to_tag: None, ..*matching.clone() }));
        Some(Self { matching, ..self.clone() })
    }
}

/// Two requests with the same of these and different [`ServerKey`]s took different paths from one
/// origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Merged {
    call_id: CallId,
    from_tag: Option<Tag>,
    cseq: CSeq,
}

/// The keys of a request, whose top Via is stamped already. The error names the header.
pub(super) fn of_request(request: &Request) -> Result<(ServerKey, Merged), &'static str> {
    let headers = &request.headers;
    let via = headers.top_via().map_err(|_| "Via")?;
    let call_id = headers.call_id().map_err(|_| "Call-ID")?;
    let cseq = headers.cseq().map_err(|_| "CSeq")?;
    let from_tag = headers.from().map_err(|_| "From")?.tag();
    let to_tag = headers.to().map_err(|_| "To")?.tag();
    if cseq.method != request.method {
        return Err("CSeq names another method");
    }

    let method = match &request.method {
        Method::Ack => Method::Invite,
        other => other.clone(),
    };
    let sent_by = (via.host.clone(), via.port);
    let matching = match &via.branch {
        Some(branch) if branch.is_rfc3261() => Matching::Branch(branch.clone()),
        _ => {
            let uri = request.uri.clone();
            let from_tag = from_tag.clone();
            Matching::Rfc2543(Box::new(Rfc2543 { uri, from_tag, to_tag, via }))
        }
    };
    let key = ServerKey { method, call_id: call_id.clone(), seq: cseq.seq, sent_by, matching };
    Ok((key, Merged { call_id, from_tag, cseq }))
}

/// Names a client transaction of ours: branches we draw are unique by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    branch: String,
    method: Method,
}

impl ClientKey {
    pub(super) fn new(branch: &str, method: Method) -> Self {
        Self { branch: branch.to_owned(), method }
    }
}

/// `None` for a response that cannot be to a request of ours: it has no single Via with a branch.
pub(super) fn of_response(response: &Response) -> Option<ClientKey> {
    let vias = response.headers.vias().ok()?;
    let [via] = vias.as_slice() else { return None };
    let cseq = response.headers.cseq().ok()?;
    Some(ClientKey::new(via.branch.as_ref()?.as_str(), cseq.method))
}

/// A hash that nobody without the secret can aim at.
pub(super) fn keyed_hash(secret: [u64; 2], value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    secret.hash(&mut hasher);
    value.hash(&mut hasher);
    hasher.finish()
}

/// The same for all copies of a request and for its CANCEL; 64 bits for a To tag.
pub(super) fn tag_hash(secret: [u64; 2], request: &Request) -> u64 {
    let headers = &request.headers;
    let from_tag = headers.from().ok().and_then(|from| from.tag());
    let seq = headers.cseq().ok().map(|cseq| cseq.seq);
    keyed_hash(secret, &(headers.call_id().ok(), from_tag, seq))
}
