//! One SIP connection from its first byte to its last, whoever opened it, and the table of all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::clock::OsRandom;
use super::queue;
use super::sip::Inbound;
use crate::call::Target;
use crate::random::Random;
use crate::sip::Flow;
use crate::sip::framing::{Frame, Framer};

/// A message that has begun must be whole within this time, or it is a slow-loris.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// A peer that does not take what we write for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages for one connection are written together up to this size: one TLS record.
const MAX_WRITE_BYTES: usize = 16 << 10;
/// What waits to be written to one connection before it counts as dead: all calls of a pod may have a
/// BYE to say at once.
const WRITE_QUEUE_BYTES: usize = 2 << 20;
/// Connections held at once, those that we opened included.
pub(super) const MAX_CONNECTIONS: usize = 4096;

/// The table of all: who may still open one, and where to write to those that are open.
pub(super) struct Connections {
    /// Until then whoever connects may be this node itself, by an address that is no trunk's.
    ourselves_until: Mutex<Option<Instant>>,
    /// Begins anywhere: a peer that remembers a connection of the process before us must not find one
    /// of ours by its number.
    next_id: AtomicU64,
    count: watch::Sender<usize>,
    writers: Mutex<HashMap<u64, queue::Sender<Bytes>>>,
}

/// A connection of ours to be: it counts from now on, until this is dropped.
pub(super) struct Opening {
    pub(super) id: u64,
    connections: Arc<Connections>,
    pub(super) inbound: mpsc::Sender<Inbound>,
}

impl Opening {
    /// `None` when there are too many connections.
    pub(super) fn new(
        connections: &Arc<Connections>,
        inbound: mpsc::Sender<Inbound>,
    ) -> Option<Self> {
        let id = connections.open_one()?;
        Some(Self { id, connections: connections.clone(), inbound })
    }

    /// Connections there are now.
    pub(super) fn open_now(&self) -> usize {
        *self.connections.count.borrow()
    }

    /// Says that the flow is there and reads and writes it to its end, which comes at the latest
    /// when nothing was said for as long as `idle`.
    pub(super) async fn converse(
        self,
        target: Target,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        flow: Flow,
        idle: Duration,
    ) {
        // The writer is there before anybody knows of the flow and wants to use it.
        let outbound = self.connections.register(flow.id);
        let dialled = Inbound::Dialled { target, result: Ok(flow) };
        if self.inbound.send(dialled).await.is_err() {
            return;
        }
        let reason = converse(stream, flow, outbound, Some(idle), &self.inbound).await;
        debug!(remote = %flow.remote, transport = ?flow.transport, reason, "connection of ours closed");
        let _ = self.inbound.send(Inbound::Closed { flow }).await;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.connections.close_one(self.id);
    }
}

impl Connections {
    pub(super) fn new() -> Self {
        let mut random = OsRandom::new();
        let random: &mut dyn Random = &mut random;
        Self {
            ourselves_until: Mutex::default(),
            next_id: AtomicU64::new(random.u64() >> 1),
            count: watch::Sender::new(0),
            writers: Mutex::default(),
        }
    }

    /// The id of one more connection; `None` when there are too many.
    pub(super) fn open_one(&self) -> Option<u64> {
        let fits = self.count.send_if_modified(|count| {
            let fits = *count < MAX_CONNECTIONS;
            *count += usize::from(fits);
            fits
        });
        fits.then(|| self.next_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn close_one(&self, id: u64) {
        self.lock().remove(&id);
        self.count.send_modify(|count| *count -= 1);
    }

    /// Closes them all, each when it has written what waits.
    pub(super) async fn finish(&self) {
        self.lock().clear();
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// What is to be written to a connection.
    pub(super) fn register(&self, id: u64) -> queue::Receiver<Bytes> {
        let (writer, outbound) = queue::bounded(WRITE_QUEUE_BYTES);
        self.lock().insert(id, writer);
        outbound
    }

    /// For so long no connection is turned away by its address: it may be our own.
    pub(super) fn expect_ourselves(&self, duration: Duration) {
        *self.ourselves_until() = Some(Instant::now() + duration);
    }

    fn ourselves_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.ourselves_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn may_be_ourselves(&self) -> bool {
        self.ourselves_until().is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<u64, queue::Sender<Bytes>>> {
        // A map of senders is valid after any panic.
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads and writes one connection until either side is done with it, or nothing was said on it for
/// as long as `idle`. Returns why it ended.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    flow: Flow,
    mut outbound: queue::Receiver<Bytes>,
    mut idle: Option<Duration>,
    inbound: &mpsc::Sender<Inbound>,
) -> &'static str {
    let mut framer = Framer::new();
    let mut buffer = BytesMut::with_capacity(8 << 10);
    let mut whole_by = None;
    loop {
        // Every turn of this loop is something that was said.
        let idle_at = idle.map(|idle| tokio::time::Instant::now() + idle);
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
                            if !bytes.starts_with(b"SIP/") {
                                // The peer uses it too, perhaps for a call: it is not ours to close.
                                idle = None;
                            }
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
                let Some(mut bytes) = bytes else { return "closed, or its write queue overflowed" };
                // What was queued meanwhile goes along: a 100 and the 180 behind it are one write.
                while bytes.len() < MAX_WRITE_BYTES && let Some(more) = outbound.try_recv() {
                    bytes = [bytes, more].concat().into();
                }
                if !write(&mut stream, &bytes).await {
                    return "write error";
                }
            },
            () = until(whole_by) => return "message not completed in time",
            () = until(idle_at) => return "idle",
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
