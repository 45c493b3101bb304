//! Reaching an agent: name, TCP, TLS and WebSocket upgrade, within the agent's own time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Uri};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Connector, Error, Limits, MaybeTlsStream};
use tracing::debug;

use super::AgentSocket;
use super::wire::Wire;
use crate::call::AgentServer;
use crate::call::media::AgentFailure;
use crate::config::{Secret, WebSocket};
use crate::endpoints::websocket::Dialect;

/// The longest single message taken from an agent, in bytes: ten minutes of G.711 in base64.
const MAX_MESSAGE_LEN_BYTES: usize = 8 << 20;
/// Whoever takes longer to take a connection is out of reach.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Whoever wants an agent reached. Dropped, the attempt is given up.
pub(crate) struct Attempt {
    _wanted: oneshot::Sender<()>,
}

impl Attempt {
    pub(crate) fn new() -> (Self, GivenUp) {
        let (wanted, given_up) = oneshot::channel();
        (Self { _wanted: wanted }, GivenUp(given_up))
    }
}

/// Comes true when the [`Attempt`] is dropped.
pub(crate) struct GivenUp(oneshot::Receiver<()>);

/// Opens the conversation within `connectTimeoutSeconds`, in a task of its own, and tells how that
/// ended unless it was given up before.
pub(crate) fn connect(
    endpoint: WebSocket,
    tls: Option<Arc<ClientConfig>>,
    given_up: GivenUp,
    tell: impl FnOnce(Result<Box<AgentSocket>, AgentFailure>) + Send + 'static,
) {
    tokio::spawn(async move {
        tokio::select! {
            _ = given_up.0 => {}
            opened = timeout(endpoint.connect_timeout, open(&endpoint, tls)) => {
                tell(opened.unwrap_or(Err(AgentFailure::Timeout)).map(Box::new));
            }
        }
    });
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
    AgentSocket::new(socket).map_err(|_| AgentFailure::Closed)
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
) -> Result<MaybeTlsStream<Wire>, AgentFailure> {
    let stream = dial(host, port).await?;
    let _ = stream.set_nodelay(true);
    let connector = match tls {
        Some(config) => Connector::Rustls(TlsConnector::from(config)),
        None => Connector::Plain,
    };
    connector.wrap(host, Wire::Awaited(stream)).await.map_err(|error| {
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
