//! Flows that we open: to carriers' servers, and to ourselves. A connection to a server is opened
//! when somebody asks for it, shared by all who do, and closed once nobody has spoken on it for a
//! while; what comes on it goes the way of what comes on any other.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::connection::Opening;
use super::sip::{Inbound, SipSockets, datagrams};
use super::tls::{self, ServerCertificate};
use crate::call::{DialFailure, DialKey, DialStep, Families, Target};
use crate::config::{Server, TlsIdentity};
use crate::sip::{Flow, Transport};

/// From looking up a name to the end of the TLS handshake.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing was said for so long is closed. Longer than carriers are asked by
/// default, so that they are asked on one connection.
const IDLE: Duration = Duration::from_secs(90);
/// While more connections than this are open, each is closed soon after its answer.
const MANY: usize = 1024;
const IDLE_WHEN_MANY: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

type Trust = (Option<Vec<CertificateDer<'static>>>, Option<Arc<TlsIdentity>>);

/// Which flows are open or on their way, and for whom.
pub(crate) struct Dialler {
    own: Arc<ServerCertificate>,
    open: HashMap<Target, Flow>,
    waiting: HashMap<Target, Vec<DialKey>>,
    /// TLS towards carriers, made once for each set of roots and certificate of ours.
    tls: HashMap<Trust, Arc<ClientConfig>>,
}

impl Dialler {
    /// `own` is the certificate by which we know ourselves.
    pub(crate) fn new(own: Arc<ServerCertificate>) -> Self {
        Self { own, open: HashMap::new(), waiting: HashMap::new(), tls: HashMap::new() }
    }

    /// Forgets the TLS of trunks that may be gone.
    pub(crate) fn handle_config(&mut self) {
        self.tls.clear();
    }

    /// A flow that is there already, or that needs no opening; otherwise [`Inbound::Dialled`] tells
    /// what became of it.
    pub(crate) fn dial(
        &mut self,
        sockets: &SipSockets,
        dial: DialKey,
        target: Target,
        families: Families,
    ) -> Option<Result<Flow, DialFailure>> {
        if let Some(flow) = self.open.get(&target)
            && sockets.is_open(flow)
        {
            return Some(Ok(*flow));
        }
        if let (Transport::Udp, Some(to)) = (target.transport(), address(&target)) {
            return Some(fitting(vec![to], families).and_then(|to| udp_flow(sockets, to[0])));
        }
        let waiting = self.waiting.entry(target.clone()).or_default();
        waiting.push(dial);
        if waiting.len() > 1 {
            return None;
        }
        match self.start(sockets, &target, families) {
            Ok(()) => None,
            Err(failure) => {
                self.waiting.remove(&target);
                Some(Err(failure))
            }
        }
    }

    /// Who waits for this target.
    pub(crate) fn handle_dialled(
        &mut self,
        target: &Target,
        result: &Result<Flow, DialFailure>,
    ) -> Vec<DialKey> {
        if let Ok(flow) = result
            && flow.transport.is_reliable()
            && matches!(target, Target::Carrier(_))
        {
            self.open.insert(target.clone(), *flow);
        }
        self.waiting.remove(target).unwrap_or_default()
    }

    pub(crate) fn handle_closed(&mut self, flow: &Flow) {
        self.open.retain(|_, open| open != flow);
    }

    fn start(
        &mut self,
        sockets: &SipSockets,
        target: &Target,
        families: Families,
    ) -> Result<(), DialFailure> {
        let target = target.clone();
        if target.transport() == Transport::Udp {
            let udp = sockets.udp_local();
            sockets.tell(async move {
                let found = addresses(&target, families, Instant::now() + DIAL_TIMEOUT).await;
                let result = found.and_then(|found| flow_of(udp, found[0]));
                Inbound::Dialled { target, result }
            });
            return Ok(());
        }
        let connector = match target.transport() {
            Transport::Tls => Some(self.connector(&target)?),
            Transport::Udp | Transport::Tcp => None,
        };
        if matches!(target, Target::Own { .. }) {
            sockets.expect_ourselves(DIAL_TIMEOUT);
        }
        let opening = sockets.open_one().ok_or_else(|| {
            failed(DialStep::Connect, "this node has too many SIP connections already")
        })?;
        tokio::spawn(connect(target, families, connector, opening));
        Ok(())
    }

    /// TLS, and the name that the other side must prove.
    fn connector(&mut self, target: &Target) -> Result<Tls, DialFailure> {
        let cannot = |text: &str| failed(DialStep::Handshake, text);
        let (config, name) = match target {
            Target::Own { address, .. } => {
                (tls::own_config(self.own.clone()), ServerName::from(address.ip()))
            }
            Target::Carrier(server) => {
                let name = ServerName::try_from(server.host.clone())
                    .map_err(|_| cannot("the server's name cannot stand in a certificate"))?;
                (self.config(server), name)
            }
        };
        let config = config.map_err(|error| cannot(&format!("TLS cannot be set up: {error}")))?;
        Ok(Tls { connector: TlsConnector::from(config), name })
    }

    fn config(&mut self, server: &Server) -> Result<Arc<ClientConfig>, rustls::Error> {
        let trust = (server.ca.clone(), server.identity.clone());
        if let Some(config) = self.tls.get(&trust) {
            return Ok(config.clone());
        }
        let identity = server.identity.as_ref().map(|identity| identity.certified_key());
        let config = tls::client_config(server.ca.as_deref(), identity)?;
        self.tls.insert(trust, config.clone());
        Ok(config)
    }
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// Opens a connection, says so, and holds the conversation to its end.
async fn connect(target: Target, families: Families, tls: Option<Tls>, opening: Opening) {
    let until = Instant::now() + DIAL_TIMEOUT;
    let dialled = match addresses(&target, families, until).await {
        Ok(found) => first_that_answers(found, tls, until).await,
        Err(failure) => Err(failure),
    };
    let (stream, local, remote) = match dialled {
        Ok(dialled) => dialled,
        Err(failure) => {
            let result = Err(failure);
            let _ = opening.inbound.send(Inbound::Dialled { target, result }).await;
            return;
        }
    };
    let flow = Flow { holder: None, id: opening.id, transport: target.transport(), local, remote };
    let idle = if opening.open_now() > MANY { IDLE_WHEN_MANY } else { IDLE };
    opening.converse(target, stream, flow, idle).await;
}

type Stream = Box<dyn Connection>;

/// What TCP and TLS have in common.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Each address has its share of the time that is left, so that one which is dead leaves some for
/// the next.
async fn first_that_answers(
    found: Vec<SocketAddr>,
    tls: Option<Tls>,
    until: Instant,
) -> Result<(Stream, SocketAddr, SocketAddr), DialFailure> {
    let mut failure = failed(DialStep::Connect, "there is no address to connect to");
    let count = found.len();
    for (index, remote) in found.into_iter().enumerate() {
        let left = u32::try_from(count - index).unwrap_or(1);
        let now = Instant::now();
        let deadline = now + until.saturating_duration_since(now) / left;
        match open(remote, tls.as_ref(), deadline).await {
            Ok(stream) => return Ok(stream),
            Err(it) => failure = it,
        }
    }
    Err(failure)
}

async fn open(
    remote: SocketAddr,
    tls: Option<&Tls>,
    deadline: Instant,
) -> Result<(Stream, SocketAddr, SocketAddr), DialFailure> {
    let to = format!("connection to {remote}");
    let stream = in_time(deadline, DialStep::Connect, &to, TcpStream::connect(remote)).await?;
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().map_err(|error| failed(DialStep::Connect, &error))?;
    let Some(Tls { connector, name }) = tls else { return Ok((Box::new(stream), local, remote)) };
    let handshake = connector.connect(name.clone(), stream);
    let what = format!("TLS handshake with {remote}");
    let stream = in_time(deadline, DialStep::Handshake, &what, handshake).await?;
    Ok((Box::new(stream), local, remote))
}

async fn in_time<T>(
    deadline: Instant,
    step: DialStep,
    what: &str,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, DialFailure> {
    match timeout_at(deadline, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed(step, format!("{what}: {error}"))),
        Err(_) => Err(failed(step, format!("{what}: no answer in time"))),
    }
}

/// The address of a target that needs no looking up.
fn address(target: &Target) -> Option<SocketAddr> {
    match target {
        Target::Own { address, .. } => Some(*address),
        Target::Carrier(server) => {
            Some(SocketAddr::new(server.host.parse::<IpAddr>().ok()?, server.port()))
        }
    }
}

/// At least one, in the resolver's order.
async fn addresses(
    target: &Target,
    families: Families,
    until: Instant,
) -> Result<Vec<SocketAddr>, DialFailure> {
    let found = match (address(target), target) {
        (Some(address), _) => vec![address],
        (None, Target::Own { address, .. }) => vec![*address],
        (None, Target::Carrier(server)) => {
            let lookup = lookup_host((server.host.as_str(), server.port()));
            in_time(until, DialStep::Resolve, &server.host, lookup).await?.collect()
        }
    };
    fitting(found, families)
}

/// Those we have an address of our own for.
fn fitting(found: Vec<SocketAddr>, families: Families) -> Result<Vec<SocketAddr>, DialFailure> {
    let there_are = !found.is_empty();
    let mut fit: Vec<_> = found.into_iter().filter(|it| families.include(it.ip())).collect();
    fit.truncate(MAX_ADDRESSES);
    match (fit.is_empty(), there_are) {
        (false, _) => Ok(fit),
        (true, true) => {
            let text = "its addresses are all of a family (IPv4, IPv6) of which this node \
                        advertises none";
            Err(failed(DialStep::Connect, text))
        }
        (true, false) => Err(failed(DialStep::Resolve, "the name has no address")),
    }
}

fn udp_flow(sockets: &SipSockets, remote: SocketAddr) -> Result<Flow, DialFailure> {
    flow_of(sockets.udp_local(), remote)
}

fn flow_of(udp: Option<SocketAddr>, remote: SocketAddr) -> Result<Flow, DialFailure> {
    let local = udp.ok_or_else(|| failed(DialStep::Connect, "no UDP port is open for SIP"))?;
    Ok(datagrams(local, remote))
}

fn failed(step: DialStep, text: impl ToString) -> DialFailure {
    DialFailure { step, text: text.to_string() }
}
