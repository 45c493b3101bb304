//! Which trunk and which agent take a call: pure functions over [`Config`].
//!
//! A trunk is found by what cannot be forged (source address, digest credentials), never by what the
//! message says of itself. Of all trunks found, the most specific number decides, then the longest
//! source prefix, then the order of [`Config::trunks`].

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::number::Fit;
use super::{CalledHeader, Config, Route, Secret, Transport, Trunk};

/// Who sent a request, as far as it is proven.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    pub address: IpAddr,
    pub transport: Transport,
    /// The user whose digest response was verified for this request.
    pub username: Option<&'a str>,
}

/// A trunk that a peer may belong to.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub trunk: Arc<Trunk>,
    /// Bits of the source range that matched; `None` when the trunk was found by digest alone.
    pub prefix_len: Option<u8>,
    /// The trunk also wants digest credentials, and the peer has not shown them: answer 401.
    pub needs_digest: bool,
}

/// The trunks a peer may belong to. A peer with neither candidates nor `wrong_transport` is a
/// stranger.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    pub trunks: Vec<Candidate>,
    /// Trunks whose source matched, but which use another transport: refuse, and say which.
    pub wrong_transport: Vec<Arc<Trunk>>,
}

/// Where a call goes.
#[derive(Clone, Debug)]
pub struct Choice {
    pub trunk: Arc<Trunk>,
    /// Index into the trunk's `routes`.
    route: usize,
    /// The called number after normalisation: `+` and digits, or a user part.
    pub called: String,
    /// See [`Candidate::needs_digest`].
    pub needs_digest: bool,
}

impl Choice {
    pub fn route(&self) -> &Route {
        &self.trunk.routes[self.route]
    }
}

/// Why no route takes a call. `Display` is fit for a `Warning` header: it names trunk and field and
/// quotes nothing of what the peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrouted {
    /// Nothing that is proven of the peer leads to a trunk: a stranger.
    NoTrunk,
    WrongTransport {
        trunk: String,
        wants: Transport,
        came: Transport,
    },
    NoRoute {
        trunk: String,
        /// The number came without `+` and the trunk has no country code to complete it.
        incomplete_number: bool,
    },
}

impl Unrouted {
    /// The field of the trunk that failed to match.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NoTrunk => "spec.inbound.sources",
            Self::WrongTransport { .. } => "spec.transport",
            Self::NoRoute { .. } => "spec.routes",
        }
    }

    pub fn trunk(&self) -> Option<&str> {
        match self {
            Self::NoTrunk => None,
            Self::WrongTransport { trunk, .. } | Self::NoRoute { trunk, .. } => Some(trunk),
        }
    }

    /// For metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoTrunk => "no_trunk",
            Self::WrongTransport { .. } => "wrong_transport",
            Self::NoRoute { .. } => "no_route",
        }
    }
}

impl fmt::Display for Unrouted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTrunk => f.write_str("no trunk has this source (spec.inbound.sources)"),
            Self::WrongTransport { trunk, wants, came } => {
                write!(f, "trunk {trunk} uses {wants}, this came over {came} (spec.transport)")
            }
            Self::NoRoute { trunk, incomplete_number: false } => {
                write!(f, "trunk {trunk} has no route for the called number (spec.routes)")
            }
            Self::NoRoute { trunk, incomplete_number: true } => write!(
                f,
                "trunk {trunk} has no route for the called number, which came without + \
                 (spec.routes, spec.inbound.calledNumber.countryCode)"
            ),
        }
    }
}

impl Transport {
    /// Whether a trunk of this transport takes a request that came over `came`: a UDP trunk may
    /// switch to TCP for a message too large for a datagram (RFC 3261 §18.1.1).
    pub fn takes(self, came: Self) -> bool {
        self == came || (self == Self::Udp && came == Self::Tcp)
    }
}

impl Config {
    /// Every trunk that what is proven of `peer` leads to. A trunk with sources is found by source
    /// (and wants digest on top when it has credentials); one without is found by digest.
    pub fn candidates(&self, peer: Peer<'_>) -> Candidates {
        let address = peer.address.to_canonical();
        let mut found = Candidates::default();
        for trunk in &self.trunks {
            let Some(inbound) = &trunk.inbound else { continue };
            let shown = match (&inbound.credentials, peer.username) {
                (Some(credentials), Some(username)) => credentials.username == username,
                _ => false,
            };
            let prefix_len = inbound
                .sources
                .iter()
                .filter(|source| source.contains(&address))
                .map(ipnet::IpNet::prefix_len)
                .max();
            let matches = if inbound.sources.is_empty() { shown } else { prefix_len.is_some() };
            if !matches {
                continue;
            }
            if !trunk.transport.takes(peer.transport) {
                found.wrong_transport.push(Arc::clone(trunk));
                continue;
            }
            let needs_digest = inbound.credentials.is_some() && !shown;
            found.trunks.push(Candidate { trunk: Arc::clone(trunk), prefix_len, needs_digest });
        }
        found
    }

    /// [`Self::candidates`] for a peer of which only the address is known.
    pub fn candidates_by_source(&self, address: IpAddr, transport: Transport) -> Candidates {
        self.candidates(Peer { address, transport, username: None })
    }

    /// [`Self::candidates`] for a peer whose digest response was verified.
    pub fn by_username(&self, username: &str, address: IpAddr, transport: Transport) -> Candidates {
        self.candidates(Peer { address, transport, username: Some(username) })
    }

    /// The password a digest response of `username` is verified with. Trunks that share a user name
    /// share its password; one that does not is left out when the manifests load.
    pub fn password(&self, username: &str) -> Option<&Secret> {
        self.trunks
            .iter()
            .filter_map(|trunk| trunk.inbound.as_ref()?.credentials.as_ref())
            .find(|credentials| credentials.username == username)
            .map(|credentials| &credentials.password)
    }

    /// Whether a stranger is worth a 401: there is a trunk over this transport that is found by
    /// digest alone.
    pub fn challenges_strangers(&self, transport: Transport) -> bool {
        self.trunks.iter().any(|trunk| {
            trunk.transport.takes(transport)
                && trunk
                    .inbound
                    .as_ref()
                    .is_some_and(|it| it.sources.is_empty() && it.credentials.is_some())
        })
    }
}

/// Picks trunk and route. `called` gives the unescaped user part found in a header of the request;
/// it is asked once for each trunk, with the header that trunk goes by.
pub fn choose(
    candidates: &Candidates,
    came: Transport,
    mut called: impl FnMut(CalledHeader) -> Option<String>,
) -> Result<Choice, Unrouted> {
    let mut best: Option<(Rank, Choice)> = None;
    let mut refused: Option<Unrouted> = None;
    for (order, candidate) in candidates.trunks.iter().enumerate() {
        let trunk = &candidate.trunk;
        let Some(inbound) = &trunk.inbound else { continue };
        let user = called(inbound.called_number.header).unwrap_or_default();
        let number = inbound.called_number.normalise(&user);
        let Some((fit, route)) = best_route(&trunk.routes, &number) else {
            let incomplete_number = inbound.called_number.country_code.is_empty()
                && number.len() >= 7
                && number.bytes().all(|b| b.is_ascii_digit());
            refused
                .get_or_insert(Unrouted::NoRoute { trunk: trunk.name.clone(), incomplete_number });
            continue;
        };
        let rank = (fit, candidate.prefix_len, Reverse(order));
        if best.as_ref().is_none_or(|(other, _)| rank > *other) {
            let choice = Choice {
                trunk: Arc::clone(trunk),
                route,
                called: number,
                needs_digest: candidate.needs_digest,
            };
            best = Some((rank, choice));
        }
    }
    if let Some((_, choice)) = best {
        return Ok(choice);
    }
    Err(refused.unwrap_or_else(|| match candidates.wrong_transport.first() {
        Some(trunk) => {
            Unrouted::WrongTransport { trunk: trunk.name.clone(), wants: trunk.transport, came }
        }
        None => Unrouted::NoTrunk,
    }))
}

type Rank = (Fit, Option<u8>, Reverse<usize>);

fn best_route(routes: &[Route], number: &str) -> Option<(Fit, usize)> {
    let mut best: Option<(Fit, usize)> = None;
    for (index, route) in routes.iter().enumerate() {
        let fit = if route.patterns.is_empty() {
            Some(Fit::CatchAll)
        } else {
            route.patterns.iter().filter_map(|pattern| pattern.fit(number)).max()
        };
        if let Some(fit) = fit
            && best.is_none_or(|(other, _)| fit > other)
        {
            best = Some((fit, index));
        }
    }
    best
}

impl Route {
    /// One of the agents for which `usable` holds, in proportion to their weights. `random` is any
    /// number, evenly drawn.
    pub fn pick(&self, random: u32, usable: impl Fn(&str) -> bool) -> Option<&str> {
        let pool = || self.agents.iter().filter(|(name, _)| usable(name));
        let total: u64 = pool().map(|(_, weight)| u64::from(*weight)).sum();
        // Maps 0..2³² evenly onto 0..total.
        let mut at = (u64::from(random) * total) >> 32;
        for (name, weight) in pool() {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return Some(name),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
