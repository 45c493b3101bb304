//! The connection to an agent: name, TCP, TLS and WebSocket upgrade within the agent's own time,
//! and after that a queue of messages that never makes a call wait for a slow reader.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::{Sink as _, Stream as _};
use http::{HeaderName, HeaderValue, Uri};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_websockets::{
    ClientBuilder, CloseCode, Connector, Error, Limits, MaybeTlsStream, Message, WebSocketStream,
};
use tracing::debug;

use crate::call::AgentServer;
use crate::call::media::AgentFailure;
use crate::config::{Secret, WebSocket};
use crate::endpoints::websocket::Dialect;

/// The longest single message taken from an agent, in bytes: ten minutes of G.711 in base64.
const MAX_MESSAGE_LEN_BYTES: usize = 8 << 20;
/// Messages that wait for a slow agent before the newest are dropped: five seconds of audio.
const MAX_WAITING: usize = 250;

/// Whoever takes longer to take a connection is out of reach.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

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

/// Opens the conversation within `connectTimeoutSeconds`.
pub(crate) async fn connect(
    endpoint: &WebSocket,
    tls: Option<Arc<ClientConfig>>,
) -> Result<AgentSocket, AgentFailure> {
    match timeout(endpoint.connect_timeout, open(endpoint, tls)).await {
        Ok(opened) => opened,
        Err(_) => Err(AgentFailure::Timeout),
    }
}

async fn open(
    endpoint: &WebSocket,
    tls: Option<Arc<ClientConfig>>,
) -> Result<AgentSocket, AgentFailure> {
    let url = &endpoint.url;
    let stream = stream(&url.host, url.port, tls).await?;
    let uri: Uri = url.text.parse().map_err(|_| AgentFailure::Protocol)?;
    let mut builder = ClientBuilder::from_uri(uri)
        .limits(Limits::default().max_payload_len(Some(MAX_MESSAGE_LEN_BYTES)));
    let token = endpoint.token.as_ref().and_then(Secret::expose_text);
    let signed = Dialect::from(endpoint.dialect).handshake_headers(&url.text, token);
    let signed = signed.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()));
    let written = endpoint.headers.iter();
    let written = written.map(|(name, value)| (name.clone(), value.expose().to_vec()));
    for (name, value) in signed.chain(written) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| AgentFailure::Protocol)?;
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| AgentFailure::Protocol)?;
        value.set_sensitive(true);
        builder = builder.add_header(name, value).map_err(|_| AgentFailure::Protocol)?;
    }
    let (socket, _) = builder.connect_on(stream).await.map_err(|error| match error {
        Error::Upgrade(tokio_websockets::upgrade::Error::DidNotSwitchProtocols(status)) => {
            AgentFailure::Status(status)
        }
        Error::Io(_) => AgentFailure::Closed,
        _ => AgentFailure::Protocol,
    })?;
    Ok(AgentSocket { socket, closed: None })
}

/// Whether somebody takes connections there, and how long that takes. Nothing is asked of him.
pub(crate) async fn reach(
    server: &AgentServer,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Duration, AgentFailure> {
    let began = Instant::now();
    let reached = timeout(REACH_TIMEOUT, stream(&server.host, server.port, tls)).await;
    reached.unwrap_or(Err(AgentFailure::Connect)).map(|_| began.elapsed())
}

async fn stream(
    host: &str,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
) -> Result<MaybeTlsStream<TcpStream>, AgentFailure> {
    let stream = dial(host, port).await?;
    let _ = stream.set_nodelay(true);
    let connector = match tls {
        Some(config) => Connector::Rustls(TlsConnector::from(config)),
        None => Connector::Plain,
    };
    connector.wrap(host, stream).await.map_err(|error| {
        debug!(%error, "TLS with the agent failed");
        AgentFailure::Tls
    })
}

/// Every address of the name in turn, so that one dead address is not a dead agent.
async fn dial(host: &str, port: u16) -> Result<TcpStream, AgentFailure> {
    let addresses =
        tokio::net::lookup_host((host, port)).await.map_err(|_| AgentFailure::Resolve)?;
    let mut failure = AgentFailure::Resolve;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(_) => failure = AgentFailure::Connect,
        }
    }
    Err(failure)
}

impl AgentSocket {
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
