//! SIP sockets: UDP datagrams, TCP and TLS connections. Bytes in become whole messages with the
//! [`Flow`] they came on; messages out leave on the flow they name. Nothing here reads SIP beyond
//! the framing of a stream.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::sip::framing::{Frame, Framer};
use crate::sip::{Flow, Transport};

/// A TLS handshake that takes longer is a peer that does not mean it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A message that has begun must be whole within this time, or it is a slow-loris.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// A peer that does not take what we write for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages for one connection are written together up to this size: one TLS record.
const MAX_WRITE_BYTES: usize = 16 << 10;
/// Messages waiting to be written to one connection before it counts as dead.
const WRITE_QUEUE: usize = 256;
/// After an accept that failed for want of something that will come back.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Connections held at once over all listeners.
const MAX_CONNECTIONS: usize = 4096;

/// What the network says to the signalling task.
pub(crate) enum Inbound {
    /// One datagram, or one framed message of a stream.
    Message { flow: Flow, bytes: Bytes },
    /// A connection is gone.
    Closed { flow: Flow },
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
}

#[derive(Default)]
struct Connections {
    next_id: AtomicU64,
    count: AtomicUsize,
    writers: Mutex<HashMap<u64, mpsc::Sender<Bytes>>>,
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
        let connections = Arc::new(Connections::default());
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
            tokio::spawn(accept(
                listener,
                acceptor,
                gate.clone(),
                connections.clone(),
                inbound.clone(),
            ));
        }
        Ok(Self { udp, connections })
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
        writer.try_send(bytes).map_err(|_| {
            // Dropping the writer ends the connection's task.
            writers.remove(&flow.id);
            io::Error::from(io::ErrorKind::BrokenPipe)
        })
    }
}

impl Connections {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, mpsc::Sender<Bytes>>> {
        // A map of senders is valid after any panic.
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
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

/// An IPv4 address as a dual-stack socket wants it.
fn for_socket(socket: &UdpSocket, remote: SocketAddr) -> io::Result<SocketAddr> {
    Ok(match (socket.local_addr()?, remote) {
        (SocketAddr::V6(_), SocketAddr::V4(v4)) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        _ => remote,
    })
}

/// An IPv4 address that came in on a dual-stack socket, as what it is.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

async fn read_datagrams(socket: Arc<UdpSocket>, inbound: mpsc::Sender<Inbound>) {
    let Ok(local) = socket.local_addr() else { return };
    let mut buffer = vec![0; 65_535];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, remote)) => {
                let flow = Flow {
                    id: UDP_FLOW,
                    transport: Transport::Udp,
                    local,
                    remote: canonical(remote),
                };
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

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    gate: Gate,
    connections: Arc<Connections>,
    inbound: mpsc::Sender<Inbound>,
) {
    let Ok(local) = listener.local_addr() else { return };
    let transport = if acceptor.is_some() { Transport::Tls } else { Transport::Tcp };
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "accept");
                // Out of descriptors, most likely: give others time to close theirs.
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let remote = canonical(remote);
        if !gate(remote.ip(), transport) {
            debug!(%remote, "connection from a stranger closed unanswered");
            continue;
        }
        if connections.count.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            connections.count.fetch_sub(1, Ordering::Relaxed);
            warn!(%remote, limit = MAX_CONNECTIONS, "too many SIP connections");
            continue;
        }
        let id = connections.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let flow = Flow { id, transport, local, remote };
        let (acceptor, connections, inbound) =
            (acceptor.clone(), connections.clone(), inbound.clone());
        tokio::spawn(async move {
            serve(stream, acceptor, flow, &connections, &inbound).await;
            connections.lock().remove(&id);
            connections.count.fetch_sub(1, Ordering::Relaxed);
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
        None => converse(stream, flow, connections, inbound).await,
        Some(acceptor) => match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => converse(stream, flow, connections, inbound).await,
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

/// Reads and writes one connection until either side is done with it. Returns why it ended.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    flow: Flow,
    connections: &Connections,
    inbound: &mpsc::Sender<Inbound>,
) -> &'static str {
    let (writer, mut outbound) = mpsc::channel(WRITE_QUEUE);
    connections.lock().insert(flow.id, writer);
    let mut framer = Framer::new();
    let mut buffer = BytesMut::with_capacity(8 << 10);
    let mut whole_by = None;
    loop {
        tokio::select! {
            read = stream.read_buf(&mut buffer) => {
                match read {
                    Ok(0) => return "closed by the peer",
                    Err(_) => return "read error",
                    Ok(_) => {}
                }
                framer.push(&buffer.split());
                buffer.reserve(8 << 10);
                while let Some(frame) = framer.next() {
                    match frame {
                        Ok(Frame::Message(bytes)) => {
                            // Waiting here is back-pressure on this peer alone.
                            if inbound.send(Inbound::Message { flow, bytes }).await.is_err() {
                                return "node is stopping";
                            }
                        }
                        // RFC 5626 §3.5.1: a double CRLF is answered by a single one.
                        Ok(Frame::Ping) => {
                            if !write(&mut stream, b"\r\n").await {
                                return "write error";
                            }
                        }
                        Err(error) => {
                            warn!(remote = %flow.remote, %error, "stream cannot be framed");
                            if let Some(reply) = error.reply {
                                write(&mut stream, &reply.write()).await;
                            }
                            return "framing error";
                        }
                    }
                }
                whole_by = match (framer.held() == 0, whole_by) {
                    (true, _) => None,
                    (false, None) => Some(tokio::time::Instant::now() + MESSAGE_TIMEOUT),
                    (false, running) => running,
                };
            }
            bytes = outbound.recv() => {
                let Some(mut bytes) = bytes else { return "write queue overflow" };
                // What was queued meanwhile goes along: a 100 and the 180 behind it are one write.
                while bytes.len() < MAX_WRITE_BYTES && let Ok(more) = outbound.try_recv() {
                    bytes = [bytes, more].concat().into();
                }
                if !write(&mut stream, &bytes).await {
                    return "write error";
                }
            },
            () = until(whole_by) => return "message not completed in time",
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    let written = timeout(WRITE_TIMEOUT, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    matches!(written.await, Ok(Ok(())))
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
