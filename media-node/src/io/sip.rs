//! SIP sockets: UDP datagrams, TCP and TLS connections. Bytes in become whole messages with the
//! [`Flow`] they came on; messages out leave on the flow they name. Nothing here reads SIP beyond
//! the framing of a stream. What becomes of a connection is in [`super::connection`]; those that we
//! open ourselves begin in [`super::dial`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::connection::{Connections, MAX_CONNECTIONS, Opening, converse};
use super::relay::Frame;
use crate::call::media::AgentFailure;
use crate::call::{AgentServer, DialFailure, Target, canonical};
use crate::sip::{Flow, Transport};

/// A TLS handshake that takes longer is a peer that does not mean it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed for want of something that will come back.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What the network says to the signalling task.
pub(crate) enum Inbound {
    /// One datagram, or one framed message of a stream.
    Message { flow: Flow, bytes: Bytes },
    /// A connection is gone.
    Closed { flow: Flow },
    /// From another node of the pool.
    Frame(Frame),
    /// A message that was passed on to its owner and did not get there; `gone` when that node does
    /// not run.
    Undelivered { flow: Flow, bytes: Bytes, gone: bool },
    /// What became of a flow that we wanted.
    Dialled { target: Target, result: Result<Flow, DialFailure> },
    /// Whether somebody takes connections where agents listen.
    Reached { server: Arc<AgentServer>, result: Result<Duration, AgentFailure> },
}

/// Decides, before a TLS handshake is paid for, whether an address may speak on a transport at all.
pub(crate) type Gate = Arc<dyn Fn(IpAddr, Transport) -> bool + Send + Sync>;

/// The ports to listen on; `None` turns one off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) udp: Option<u16>,
    pub(crate) tcp: Option<u16>,
    pub(crate) tls: Option<u16>,
    /// Pods of one pool on one node's network have the same ports, and the kernel spreads what
    /// comes over them (SO_REUSEPORT; for processes of the same user only).
    pub(crate) shared: bool,
}

/// Every SIP socket of the node.
pub(crate) struct SipSockets {
    udp: Option<Arc<UdpSocket>>,
    connections: Arc<Connections>,
    /// Whether new connections are taken.
    listening: watch::Sender<bool>,
    inbound: mpsc::Sender<Inbound>,
}

/// The flow id of the UDP socket; connections count from one.
const UDP_FLOW: u64 = 0;

impl SipSockets {
    /// Binds the listeners and starts reading them into `inbound`.
    pub(crate) fn bind(
        ports: Ports,
        tls: TlsAcceptor,
        gate: Gate,
        inbound: mpsc::Sender<Inbound>,
    ) -> io::Result<Self> {
        let connections = Arc::new(Connections::new());
        let (listening, _) = watch::channel(true);
        let udp = match ports.udp {
            Some(port) => {
                let socket =
                    Arc::new(bind_udp(port, ports.shared).map_err(|e| named(e, "UDP", port))?);
                tokio::spawn(read_datagrams(socket.clone(), inbound.clone()));
                Some(socket)
            }
            None => None,
        };
        for (port, transport) in [(ports.tcp, Transport::Tcp), (ports.tls, Transport::Tls)] {
            let Some(port) = port else { continue };
            let listener = bind_tcp(port, ports.shared).map_err(|e| named(e, "TCP", port))?;
            let acceptor = (transport == Transport::Tls).then(|| tls.clone());
            let door = Door {
                port,
                shared: ports.shared,
                transport,
                acceptor,
                gate: gate.clone(),
                connections: connections.clone(),
                inbound: inbound.clone(),
            };
            tokio::spawn(door.keep(listener, listening.subscribe()));
        }
        Ok(Self { udp, connections, listening, inbound })
    }

    /// Takes new connections, or leaves them to whoever else listens on our ports. Those that are
    /// there go on.
    pub(crate) fn listen(&self, listen: bool) {
        self.listening.send_replace(listen);
    }

    /// Sends now or not at all: a datagram the kernel has no room for is lost like any other, and a
    /// connection whose queue is full or gone is an error.
    pub(crate) fn send(&self, flow: &Flow, bytes: Bytes) -> Result<(), io::Error> {
        if flow.transport == Transport::Udp {
            let socket = self.udp.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            let sent = socket.try_send_to(&bytes, for_socket(socket, flow.remote)?);
            return match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                Err(error) => Err(error),
                Ok(_) => Ok(()),
            };
        }
        let mut writers = self.connections.lock();
        let writer = writers.get(&flow.id).ok_or(io::ErrorKind::NotConnected)?;
        let len_bytes = bytes.len();
        if writer.send(bytes, len_bytes) {
            return Ok(());
        }
        // Dropping the writer ends the connection's task.
        writers.remove(&flow.id);
        Err(io::ErrorKind::BrokenPipe.into())
    }

    /// Closes all connections when what waits to be written has been.
    pub(crate) async fn finish(&self) {
        self.connections.finish().await;
    }

    /// Closes a connection, whatever still waits to be written.
    pub(crate) fn close(&self, flow: &Flow) {
        self.connections.lock().remove(&flow.id);
    }

    pub(super) fn is_open(&self, flow: &Flow) -> bool {
        self.connections.lock().get(&flow.id).is_some_and(|writer| !writer.is_closed())
    }

    /// Datagrams to and from `remote`; `None` when UDP is off.
    pub(super) fn udp_flow(&self, remote: SocketAddr) -> Option<Flow> {
        Some(datagrams(self.udp_local()?, remote))
    }

    pub(super) fn udp_local(&self) -> Option<SocketAddr> {
        self.udp.as_ref().and_then(|socket| socket.local_addr().ok())
    }

    /// Tells the signalling task what comes of `work`.
    pub(super) fn tell(&self, work: impl Future<Output = Inbound> + Send + 'static) {
        let inbound = self.inbound.clone();
        tokio::spawn(async move { inbound.send(work.await).await });
    }

    /// See [`Connections::expect_ourselves`].
    pub(super) fn expect_ourselves(&self, duration: Duration) {
        self.connections.expect_ourselves(duration);
    }

    /// Room for one more connection; `None` when there are too many.
    pub(super) fn open_one(&self) -> Option<Opening> {
        Opening::new(&self.connections, self.inbound.clone())
    }
}

fn named(error: io::Error, what: &str, port: u16) -> io::Error {
    io::Error::new(error.kind(), format!("{what} port {port}: {error}"))
}

/// One socket for both families where the machine has IPv6, IPv4 alone where it has not.
fn bind(kind: Type, protocol: Protocol, port: u16, shared: bool) -> io::Result<Socket> {
    let dual_stack = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV6, kind, Some(protocol))?;
        socket.set_only_v6(false)?;
        prepare(&socket, kind, shared)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        Ok(socket)
    };
    dual_stack().or_else(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            return Err(error);
        }
        let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
        prepare(&socket, kind, shared)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        Ok(socket)
    })
}

fn prepare(socket: &Socket, kind: Type, shared: bool) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_reuse_port(shared)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else {
        // A burst of set-ups must not be lost while the signalling task is busy.
        let _ = socket.set_recv_buffer_size(4 << 20);
    }
    Ok(())
}

fn bind_udp(port: u16, shared: bool) -> io::Result<UdpSocket> {
    UdpSocket::from_std(bind(Type::DGRAM, Protocol::UDP, port, shared)?.into())
}

fn bind_tcp(port: u16, shared: bool) -> io::Result<TcpListener> {
    let socket = bind(Type::STREAM, Protocol::TCP, port, shared)?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

pub(super) fn datagrams(local: SocketAddr, remote: SocketAddr) -> Flow {
    Flow { holder: None, id: UDP_FLOW, transport: Transport::Udp, local, remote }
}

/// An IPv4 address as a dual-stack socket wants it.
fn for_socket(socket: &UdpSocket, remote: SocketAddr) -> io::Result<SocketAddr> {
    Ok(match (socket.local_addr()?, remote) {
        (SocketAddr::V6(_), SocketAddr::V4(v4)) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        _ => remote,
    })
}

async fn read_datagrams(socket: Arc<UdpSocket>, inbound: mpsc::Sender<Inbound>) {
    let Ok(local) = socket.local_addr() else { return };
    let mut buffer = vec![0; 65_535];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, remote)) => {
                let flow = datagrams(local, canonical(remote));
                let bytes = Bytes::copy_from_slice(&buffer[..len]);
                // A full queue drops the datagram: its sender repeats it, and memory stays bounded.
                match inbound.try_send(Inbound::Message { flow, bytes }) {
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        debug!(remote = %flow.remote, "signalling queue full, datagram dropped");
                    }
                    Ok(()) => {}
                }
            }
            // An ICMP error of an earlier send surfaces here; the socket itself is well.
            Err(error) => debug!(%error, "UDP receive"),
        }
    }
}

/// A port where connections come in.
struct Door {
    port: u16,
    shared: bool,
    transport: Transport,
    acceptor: Option<TlsAcceptor>,
    gate: Gate,
    connections: Arc<Connections>,
    inbound: mpsc::Sender<Inbound>,
}

impl Door {
    /// Listens while `listening` says so.
    async fn keep(self, listener: TcpListener, mut listening: watch::Receiver<bool>) {
        let mut open = Some(listener);
        loop {
            if let Some(listener) = open.take() {
                tokio::select! {
                    () = self.accept(&listener) => return,
                    said = listening.wait_for(|listen| !listen) => if said.is_err() { return },
                }
                // Who has connected already must not be turned away, heard of yet or not.
                if let Ok(listener) = listener.into_std() {
                    while let Ok((stream, remote)) = listener.accept() {
                        let stream = stream.set_nonblocking(true).map(|()| stream);
                        if let Ok(stream) = stream.and_then(TcpStream::from_std) {
                            self.admit((stream, remote));
                        }
                    }
                }
            }
            if listening.wait_for(|listen| *listen).await.is_err() {
                return;
            }
            match bind_tcp(self.port, self.shared) {
                Ok(listener) => open = Some(listener),
                Err(error) => {
                    warn!(port = self.port, %error, "cannot listen again");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }

    async fn accept(&self, listener: &TcpListener) {
        while !self.inbound.is_closed() {
            match listener.accept().await {
                Ok(accepted) => self.admit(accepted),
                Err(error) => {
                    warn!(%error, "accept");
                    // Out of descriptors, most likely: give others time to close theirs.
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }

    fn admit(&self, (stream, remote): (TcpStream, SocketAddr)) {
        let (remote, transport) = (canonical(remote), self.transport);
        if !(self.gate)(remote.ip(), transport) && !self.connections.may_be_ourselves() {
            debug!(%remote, "connection from a stranger closed unanswered");
            return;
        }
        let Ok(local) = stream.local_addr() else { return };
        let Some(id) = self.connections.open_one() else {
            warn!(%remote, limit = MAX_CONNECTIONS, "too many SIP connections");
            return;
        };
        let flow = Flow { holder: None, id, transport, local: canonical(local), remote };
        let (acceptor, connections, inbound) =
            (self.acceptor.clone(), self.connections.clone(), self.inbound.clone());
        tokio::spawn(async move {
            serve(stream, acceptor, flow, &connections, &inbound).await;
            connections.close_one(id);
        });
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    flow: Flow,
    connections: &Connections,
    inbound: &mpsc::Sender<Inbound>,
) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let result = match acceptor {
        None => converse(stream, flow, connections.register(flow.id), None, inbound).await,
        Some(acceptor) => match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                converse(stream, flow, connections.register(flow.id), None, inbound).await
            }
            Ok(Err(error)) => {
                warn!(remote = %flow.remote, %error, "TLS handshake failed");
                return;
            }
            Err(_) => {
                warn!(remote = %flow.remote, "TLS handshake timed out");
                return;
            }
        },
    };
    debug!(remote = %flow.remote, transport = ?flow.transport, reason = result, "connection closed");
    let _ = inbound.send(Inbound::Closed { flow }).await;
}
