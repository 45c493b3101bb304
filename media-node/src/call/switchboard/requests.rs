//! New requests: who speaks, by source or by digest; which trunk, route and agent an INVITE gets; and
//! how every other one is refused, in a status, a `Warning` and an event.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use trunkline_crds::address::is_public;

use super::{RETRY_LATER, Switchboard};
use crate::call::advertised::sent_by;
use crate::call::limits::TrunkLimits;
use crate::call::session::{ALLOW, Beginning, Session, policy};
use crate::call::{CallKey, Output, Refusal, RtpPorts, of_config};
use crate::config::{self, Agent, CalledHeader, Candidates, Fallback, Unrouted, route};
use crate::sdp::{self, SessionDescription};
use crate::sip::dialog::{Dialog, DialogId};
use crate::sip::message::warning;
use crate::sip::transaction::TransactionId;
use crate::sip::{
    Flow, HeaderName, Method, NameAddr, Request, Response, Scheme, StatusCode, Tag, Transport, Uri,
    owner,
};

impl Switchboard {
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        id: TransactionId,
        flow: Flow,
        request: Request,
    ) {
        if self.with_probes(now, |probes, cx| probes.is_our_own(cx, &request)) {
            return self.transactions.forget(id);
        }
        let in_dialog = request.headers.to().is_ok_and(|to| to.tag().is_some());
        if in_dialog {
            let dialog = DialogId::of_request(&request);
            match dialog.and_then(|dialog| self.dialogs.get(&dialog)).copied() {
                Some(call) => {
                    self.with_session(now, call, |session, cx| {
                        session.handle_request(cx, id, flow, &request);
                    });
                }
                None if self.is_known(&flow) => {
                    let response =
                        Response::to_request(&request, StatusCode::CALL_DOES_NOT_EXIST, None);
                    self.transactions.respond(now, id, response);
                }
                None => self.transactions.forget(id),
            }
            return;
        }
        let Some(candidates) = self.authenticate(now, id, &flow, &request) else { return };
        match request.method {
            Method::Invite => {
                let trying = Response::to_request(&request, StatusCode::TRYING, None);
                self.transactions.respond(now, id, trying);
                let result = self.invite(now, id, flow, &request, &candidates);
                if let Err(refusal) = result {
                    self.refuse(now, id, &flow, &request, refusal);
                }
            }
            Method::Options => self.answer_options(now, id, &request),
            _ => {
                let status = match request.method {
                    Method::Other(_) => StatusCode::NOT_IMPLEMENTED,
                    _ => StatusCode::METHOD_NOT_ALLOWED,
                };
                let mut response = self.tagged(&request, status);
                response.headers.push(HeaderName::Allow, ALLOW);
                self.transactions.respond(now, id, response);
            }
        }
    }

    /// Who is this? `None` when the request has been answered, or dropped in silence.
    fn authenticate(
        &mut self,
        now: Instant,
        id: TransactionId,
        flow: &Flow,
        request: &Request,
    ) -> Option<Candidates> {
        let transport = of_config(flow.transport);
        let address = flow.remote.ip();
        let found = self.config.candidates_by_source(address, transport);
        let stranger = found.trunks.is_empty() && found.wrong_transport.is_empty();
        if stranger {
            let challenges = self.config.challenges_strangers(transport);
            if !challenges || !self.strangers.may_try(now, address) {
                self.out.push_back(Output::Stranger { remote: flow.remote });
                self.transactions.forget(id);
                return None;
            }
        } else if found.trunks.iter().all(|candidate| !candidate.needs_digest) {
            return Some(found);
        }
        let credentials =
            match self.authenticator.find(request.headers.values(&HeaderName::Authorization)) {
                Ok(Some(credentials)) => credentials,
                // A known source without credentials may still match a trunk that wants none.
                Ok(None) if !stranger => return Some(found),
                Ok(None) => {
                    self.strangers.failed(now, address);
                    self.challenge(now, id, request, stranger, false);
                    return None;
                }
                Err(malformed) => {
                    self.strangers.failed(now, address);
                    let reason = format!("Bad Request (Authorization: {})", malformed.problem);
                    self.refuse(
                        now,
                        id,
                        flow,
                        request,
                        Refusal::new(400, "malformed_authorization", reason),
                    );
                    return None;
                }
            };
        let config = self.config.clone();
        let verified = self.authenticator.verify(
            self.unix_secs(now),
            request.method.as_str(),
            &request.uri,
            &credentials,
            |username| config.password(username).map(|password| password.expose().to_vec()),
        );
        match verified {
            Ok(username) => {
                self.strangers.succeeded(address);
                Some(config.by_username(username, address, transport))
            }
            Err(rejected) => {
                if !rejected.stale() {
                    self.strangers.failed(now, address);
                    self.out.push_back(Output::Refused(
                        Refusal::new(401, rejected.label(), "digest credentials do not match")
                            .field("spec.inbound.authSecretRef")
                            .of(flow.remote),
                    ));
                }
                self.challenge(now, id, request, stranger, rejected.stale());
                None
            }
        }
    }

    fn challenge(
        &mut self,
        now: Instant,
        id: TransactionId,
        request: &Request,
        stranger: bool,
        stale: bool,
    ) {
        let mut response = self.tagged(request, StatusCode::UNAUTHORIZED);
        let values = self.authenticator.challenge(self.unix_secs(now), stale, &mut *self.random);
        for value in values {
            response.headers.push(HeaderName::WwwAuthenticate, value);
        }
        if stranger {
            self.transactions.respond_statelessly(id, response);
        } else {
            self.transactions.respond(now, id, response);
        }
    }

    fn answer_options(&mut self, now: Instant, id: TransactionId, request: &Request) {
        let mut response = if self.is_draining() {
            let mut response = self.tagged(request, StatusCode::SERVICE_UNAVAILABLE);
            let wait = RETRY_LATER.as_secs().to_string();
            response.headers.push(HeaderName::RetryAfter, wait);
            response
        } else {
            self.tagged(request, StatusCode::OK)
        };
        response.headers.push(HeaderName::Allow, ALLOW);
        response.headers.push(HeaderName::Accept, "application/sdp");
        self.transactions.respond(now, id, response);
    }

    /// A new call, or the reason why not.
    fn invite(
        &mut self,
        now: Instant,
        id: TransactionId,
        flow: Flow,
        request: &Request,
        candidates: &Candidates,
    ) -> Result<(), Box<Refusal>> {
        understood(request)?;
        if self.is_draining() {
            return Err(Refusal::new(503, "draining", "this node is shutting down")
                .retry_after(RETRY_LATER));
        }
        let came = of_config(flow.transport);
        let choice = route::choose(candidates, came, |header| called_user(request, header))
            .map_err(|it| unrouted(&it))?;
        let trunk = choice.trunk.clone();
        if choice.needs_digest {
            return Err(Refusal::new(401, "digest_required", "this trunk wants credentials")
                .trunk(&trunk.name)
                .field("spec.inbound.authSecretRef"));
        }
        let contact_address = self.sip_toward(flow.remote.ip()).ok_or_else(no_address)?;
        let offer = read_offer(request).map_err(|refusal| refusal.trunk(&trunk.name))?;
        let agreed = sdp::negotiate(&offer, &policy(&trunk), &mut *self.random).map_err(|it| {
            Refusal::new(it.status(), it.label(), &it.text)
                .trunk(&trunk.name)
                .field(it.reason.field().unwrap_or("spec.media"))
                .warning(it.warning)
        })?;
        let local_address = self
            .advertised
            .media_toward(&self.config.pool, agreed.remote_rtp.ip())
            .ok_or_else(no_address)?;

        if let Some(reason) = self.overload.reason() {
            return Err(Refusal::new(503, "overloaded", &reason)
                .trunk(&trunk.name)
                .retry_after(Duration::from_secs(5)));
        }
        let limits = TrunkLimits {
            concurrent_calls: trunk.limits.concurrent_calls,
            calls_per_second: trunk.limits.calls_per_second,
        };
        let pod_limit = self.config.pool.calls_per_pod;
        self.limits.admit(now, pod_limit, &trunk.name, limits).map_err(|reached| {
            Refusal::new(503, "limit", &reached.text)
                .trunk(&trunk.name)
                .field(reached.field)
                .retry_after(reached.retry_after)
        })?;
        let key = CallKey(self.next_key);
        self.next_key += 1;
        let placed = self.place(now, &choice, key, [agreed.remote_rtp, agreed.remote_rtcp]);
        let (agent, ports) = match placed {
            Ok(placed) => placed,
            Err(refusal) => {
                self.limits.release(&trunk.name);
                return Err(refusal.trunk(&trunk.name));
            }
        };

        let token = owner::mark(self.slot, &self.random.token(16));
        let sent_by = self.sent_by(contact_address, flow.transport);
        let contact = contact(&token, &sent_by, &flow, request);
        let tag = Tag::new(&self.our_tag()).expect("a token is a tag");
        let dialog = match Dialog::uas(request, tag, contact) {
            Ok(dialog) => dialog,
            Err(malformed) => {
                self.limits.release(&trunk.name);
                self.limits.release_agent(&agent.name);
                self.ports.release(now, ports, key);
                return Err(Refusal::new(400, "malformed", malformed.reason()));
            }
        };
        if !is_public(local_address) && is_public(agreed.remote_rtp.ip()) {
            self.out.push_back(Output::PrivateAddress {
                trunk: trunk.name.clone(),
                advertised: local_address,
                peer: agreed.remote_rtp.ip(),
            });
        }
        let call_id = self.call_id(now);
        let beginning = Beginning {
            key,
            id: call_id.clone(),
            flow,
            invite: (id, request.clone()),
            dialog,
            config: self.config.clone(),
            trunk,
            agent,
            offer,
            agreed,
            ports,
            local_address,
            sent_by,
            from: caller(request),
            to: choice.called.clone(),
        };
        self.accepted += 1;
        let session = Session::begin(beginning, &mut self.context(now));
        self.dialogs.insert(session.dialog().id().clone(), key);
        self.invites.insert(id, key);
        self.ids.insert(call_id, key);
        self.sessions.insert(key, session);
        Ok(())
    }

    /// An agent with room for the call, and ports.
    fn place(
        &mut self,
        now: Instant,
        choice: &config::Choice,
        key: CallKey,
        named: [SocketAddr; 2],
    ) -> Result<(Arc<Agent>, RtpPorts), Box<Refusal>> {
        let route = choice.route();
        let has_room = |name: &str| {
            self.config.agents.get(name).is_some_and(|agent| {
                agent.concurrent_calls.is_none_or(|limit| self.limits.agent_calls(name) < limit)
            })
        };
        let random = self.random.u32();
        let picked = route.pick(random, has_room).map(str::to_owned).or_else(|| {
            // Every agent of the route is full: where the first choice falls back to.
            let mut name = route.pick(random, |_| true)?.to_owned();
            let mut seen = HashSet::new();
            while seen.insert(name.clone()) {
                match &self.config.agents.get(&name)?.fallback {
                    Some(Fallback::Agent(next)) => name.clone_from(next),
                    _ => return None,
                }
                if has_room(&name) {
                    return Some(name);
                }
            }
            None
        });
        let field = || format!("spec.routes[{}]", route.index);
        let agent =
            picked.and_then(|name| self.config.agents.get(&name).cloned()).ok_or_else(|| {
                Refusal::new(503, "agent_limit", "every agent of this route carries its calls")
                    .field(field())
                    .retry_after(Duration::from_secs(5))
            })?;
        let ports = self.ports.allocate(now, key, named).ok_or_else(|| {
            Refusal::new(
                503,
                "no_rtp_port",
                "every RTP port has a call that expects the same remote address",
            )
            .field("spec.exposure.media.portRange")
            .retry_after(Duration::from_secs(5))
        })?;
        if self.limits.admit_agent(&agent.name, agent.concurrent_calls).is_err() {
            unreachable!("room was seen two statements above, and nobody else runs");
        }
        Ok((agent, ports))
    }

    fn refuse(
        &mut self,
        now: Instant,
        id: TransactionId,
        flow: &Flow,
        request: &Request,
        refusal: Box<Refusal>,
    ) {
        if refusal.status == 401 {
            return self.challenge(now, id, request, false, false);
        }
        self.refused += 1;
        let status = StatusCode::new(refusal.status).unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
        let mut response = self.tagged(request, status);
        response.reason.clone_from(&refusal.text);
        if let Some(wait) = refusal.retry_after {
            // Whole seconds, never zero.
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            response.headers.push(HeaderName::RetryAfter, format!("{seconds}"));
        }
        for (name, value) in &refusal.headers {
            response.headers.push(name.clone(), value.clone());
        }
        let agent = self.sip_toward(flow.remote.ip()).map_or_else(
            || "trunkline".to_owned(),
            |address| self.sent_by(address, flow.transport),
        );
        let text = warning(refusal.warning, &agent, &refusal.text);
        response.headers.push(HeaderName::Warning, text);
        self.transactions.respond(now, id, response);
        self.out.push_back(Output::Refused(refusal.of(flow.remote)));
    }

    fn tagged(&mut self, request: &Request, status: StatusCode) -> Response {
        let mut response = Response::to_request(request, status, None);
        response.headers.add_to_tag(&self.our_tag());
        response
    }

    fn sip_toward(&self, peer: IpAddr) -> Option<IpAddr> {
        self.advertised.sip_toward(&self.config.pool, peer)
    }

    fn sent_by(&self, address: IpAddr, transport: Transport) -> String {
        sent_by(&self.config.pool, address, transport)
    }

    fn our_tag(&mut self) -> String {
        owner::mark(self.slot, &self.random.token(12))
    }

    /// A ULID: 48 bits of wall time, 80 of chance, in Crockford's base 32.
    fn call_id(&mut self, now: Instant) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let mut chance = [0; 16];
        self.random.fill(&mut chance);
        let millis = u128::from(self.unix_millis(now));
        let value = (millis << 80) | (u128::from_be_bytes(chance) >> 48);
        let ulid: String = (0..26)
            .rev()
            .map(|at| char::from(ALPHABET[(value >> (5 * at)) as usize & 31]))
            .collect();
        owner::mark(self.slot, &ulid)
    }

    fn unix_millis(&self, now: Instant) -> u64 {
        let wall = self.epoch.1 + now.saturating_duration_since(self.epoch.0);
        wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn unix_secs(&self, now: Instant) -> u64 {
        self.unix_millis(now) / 1000
    }
}

/// Is this an INVITE we can take at all (RFC 3261 §8.2)?
fn understood(request: &Request) -> Result<(), Box<Refusal>> {
    if !matches!(request.uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel) {
        return Err(Refusal::new(416, "uri_scheme", "sip, sips and tel are understood"));
    }
    request.check().map_err(|it| Refusal::new(it.status.as_u16(), "malformed", it.reason()))?;
    if matches!(request.headers.max_forwards(), Ok(Some(0))) {
        return Err(Refusal::new(483, "too_many_hops", "Max-Forwards is 0"));
    }
    match request.headers.tokens(&HeaderName::Require) {
        Ok(required) if !required.is_empty() => {
            let list = required.join(", ");
            Err(Refusal::new(420, "bad_extension", "an extension is required that we lack")
                .header(HeaderName::Unsupported, list))
        }
        _ => Ok(()),
    }
}

fn read_offer(request: &Request) -> Result<SessionDescription, Box<Refusal>> {
    if request.body.is_empty() {
        return Err(Refusal::new(
            488,
            "no_offer",
            "an INVITE without an offer is not supported yet",
        ));
    }
    let is_sdp = match request.headers.content_type() {
        Ok(Some(kind)) => kind.is("application", "sdp"),
        // RFC 3261 §20.15 wants it beside a body; who forgets it means SDP.
        Ok(None) => true,
        Err(malformed) => return Err(Refusal::new(400, "malformed", malformed.reason())),
    };
    let encoded = request
        .headers
        .text(&HeaderName::ContentEncoding)
        .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    if !is_sdp || encoded {
        return Err(Refusal::new(415, "media_type", "application/sdp is understood")
            .header(HeaderName::Accept, "application/sdp".into()));
    }
    SessionDescription::parse(&request.body).map_err(|malformed| {
        let text = format!("Bad Request (SDP {}: {})", malformed.field, malformed.problem);
        Refusal::new(400, "malformed_sdp", text)
    })
}

fn no_address() -> Box<Refusal> {
    Refusal::new(503, "no_advertised_address", "this node does not know its own address yet")
        .field("spec.exposure.address")
        .retry_after(RETRY_LATER)
}

fn unrouted(unrouted: &Unrouted) -> Box<Refusal> {
    let status = match unrouted {
        Unrouted::NoTrunk | Unrouted::WrongTransport { .. } => 403,
        Unrouted::NoRoute { .. } => 404,
    };
    let refusal =
        Refusal::new(status, unrouted.label(), unrouted.to_string()).field(unrouted.field());
    match unrouted.trunk() {
        Some(trunk) => refusal.trunk(trunk),
        None => refusal,
    }
}

/// The number that was called, from the header the trunk goes by.
fn called_user(request: &Request, header: CalledHeader) -> Option<String> {
    match header {
        CalledHeader::RequestUri => user(&request.uri),
        CalledHeader::To => user(&request.headers.to().ok()?.uri),
        CalledHeader::PCalledPartyId => {
            let name = HeaderName::PCalledPartyId;
            user(&request.headers.addresses(&name).ok()?.first()?.uri)
        }
    }
}

fn user(uri: &Uri) -> Option<String> {
    uri.user_text().map(std::borrow::Cow::into_owned)
}

/// The caller's number: what a trusted peer asserts, else what it says (RFC 3325 §9.1).
fn caller(request: &Request) -> String {
    let asserted = ["P-Asserted-Identity", "Remote-Party-ID"].into_iter().find_map(|name| {
        let name = HeaderName::new(name)?;
        user(&request.headers.addresses(&name).ok()?.first()?.uri)
    });
    asserted
        .or_else(|| user(&request.headers.from().ok()?.uri))
        .unwrap_or_else(|| "anonymous".to_owned())
}

/// Where in-dialog requests find us. A `sips` request is answered with a `sips` Contact (RFC 3261
/// §12.1.1).
fn contact(token: &str, sent_by: &str, flow: &Flow, request: &Request) -> NameAddr {
    let secure = request.uri.scheme == Scheme::Sips;
    let transport = match flow.transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    };
    let scheme = if secure { "sips" } else { "sip" };
    let text = format!("{scheme}:{token}@{sent_by}{transport}");
    NameAddr::new(Uri::parse(text.as_bytes()).expect("made of a token and an address"))
}
