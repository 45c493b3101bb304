//! The connection to an agent: a queue of messages that never makes a call wait for a slow reader.
//!
//! It is opened on the runtime ([`connect`]) and then polled by the epoll set of its call's shard,
//! without wakers: `poll_*` are called when epoll says so, and `Pending` means until then.

mod connect;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_util::{Sink as _, Stream as _};
use rustix::fd::{AsFd, BorrowedFd};
use tokio_websockets::{CloseCode, MaybeTlsStream, Message, WebSocketStream};

pub(crate) use connect::{Attempt, connect, reach};
use wire::Wire;

/// Messages that wait for a slow agent before the newest are dropped: five seconds of audio.
const MAX_WAITING: usize = 250;

type Socket = WebSocketStream<MaybeTlsStream<Wire>>;

/// An open conversation with an agent.
pub(crate) struct AgentSocket {
    socket: Socket,
    closed: Option<Option<u16>>,
}

/// Messages on their way to the agent, kept apart from the socket so that they may be written
/// before there is one.
#[derive(Default)]
pub(crate) struct AgentQueue {
    waiting: VecDeque<BytesMut>,
    buffer: BytesMut,
    close: Close,
    pub(crate) dropped: u64,
}

#[derive(Default, PartialEq, Eq)]
enum Close {
    #[default]
    No,
    Wanted,
    Sent,
}

impl AgentQueue {
    pub(crate) fn push(&mut self, text: &[u8]) {
        if self.waiting.len() >= MAX_WAITING {
            self.dropped += 1;
            return;
        }
        // One buffer serves all messages: it is taken back once the socket is done with its pieces.
        self.buffer.extend_from_slice(text);
        self.waiting.push_back(self.buffer.split());
    }

    pub(crate) fn close(&mut self) {
        if self.close == Close::No {
            self.close = Close::Wanted;
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.close != Close::No
    }
}

/// What came from the agent.
pub(crate) enum FromAgent {
    Text(Message),
    /// The conversation is over, with the close code where the agent gave one.
    Closed(Option<u16>),
}

impl AgentSocket {
    /// Takes the socket out of the runtime in which it was opened.
    fn new(mut socket: Socket) -> io::Result<Self> {
        wire_mut(&mut socket).detach()?;
        Ok(Self { socket, closed: None })
    }

    /// Epoll says that there is something to read.
    pub(crate) fn handle_readable(&mut self) {
        wire_mut(&mut self.socket).handle_readable();
    }

    /// The next message, as long as there is one. After `Closed` there is nothing more.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<FromAgent> {
        loop {
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => {
                    if message.is_text() {
                        return Poll::Ready(FromAgent::Text(message));
                    }
                    if let Some((code, _)) = message.as_close() {
                        self.closed = Some(Some(code.into()));
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    return Poll::Ready(FromAgent::Closed(self.closed.flatten()));
                }
            }
        }
    }

    /// Moves what waits into the socket, and the closing handshake after it when that is wanted.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, queue: &mut AgentQueue) -> Poll<()> {
        let mut socket = Pin::new(&mut self.socket);
        let mut written = false;
        loop {
            let message = if let Some(text) = queue.waiting.pop_front() {
                Message::text(text)
            } else if queue.close == Close::Wanted {
                queue.close = Close::Sent;
                Message::close(Some(CloseCode::NORMAL_CLOSURE), "")
            } else {
                break;
            };
            match socket.as_mut().poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                // The reader learns of a broken socket by itself.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    if message.is_close() {
                        queue.close = Close::Wanted;
                    } else {
                        queue.waiting.push_front(BytesMut::from(message.into_payload()));
                    }
                    return Poll::Pending;
                }
            }
            written = true;
            if socket.as_mut().start_send(message).is_err() {
                return Poll::Ready(());
            }
        }
        if written || queue.close == Close::Sent {
            return socket.poll_flush(cx).map(|_| ());
        }
        Poll::Ready(())
    }
}

impl AsFd for AgentSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.socket.get_ref() {
            MaybeTlsStream::Plain(wire) => wire.as_fd(),
            MaybeTlsStream::Rustls(tls) => tls.get_ref().0.as_fd(),
        }
    }
}

fn wire_mut(socket: &mut Socket) -> &mut Wire {
    match socket.get_mut() {
        MaybeTlsStream::Plain(wire) => wire,
        MaybeTlsStream::Rustls(tls) => tls.get_mut().0,
    }
}
