//! An HTTP client for one server that is asked again and again: it keeps its connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// See the module.
pub struct Client {
    server: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub fn new(server: SocketAddr) -> Self {
        Self { server, connection: None }
    }

    /// Posts a body, and tells the status of the answer. A connection that was kept and turns out to
    /// be closed is replaced once.
    pub async fn post(
        &mut self,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<StatusCode, ClientError> {
        let kept = self.connection.is_some();
        match timeout(limit, self.attempt(path, body.clone())).await {
            Ok(Err(ClientError::Http(_))) if kept => {
                self.connection = None;
                timeout(limit, self.attempt(path, body)).await
            }
            result => result,
        }
        .unwrap_or(Err(ClientError::Timeout(limit)))
        .inspect_err(|_| self.connection = None)
    }

    async fn attempt(&mut self, path: &str, body: Bytes) -> Result<StatusCode, ClientError> {
        let request = Request::post(path)
            .header(header::HOST, self.server.to_string())
            .body(Full::new(body))?;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(self.server).await?),
        };
        connection.ready().await?;
        Ok(connection.send_request(request).await?.status())
    }
}

async fn connect(server: SocketAddr) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%server, %error, "http: connection to a server");
        }
    });
    Ok(sender)
}
