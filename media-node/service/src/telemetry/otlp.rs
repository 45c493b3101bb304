//! The road of traces to a collector: OTLP over HTTP with protobuf.
//!
//! Spans are gathered and sent by a thread of their own, which waits for the network without
//! holding up anything else; when the collector is slow or gone, spans are dropped and work goes on.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long the last traces may take when the process ends.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A collector answers in a few bytes.
const MAX_RESPONSE_LEN_BYTES: usize = 64 * 1024;
/// A busy media node ends some ten calls a second, with five spans each.
const MAX_WAITING_SPANS: usize = 8192;

/// The endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    #[error("OTLP endpoint: write it as http://HOST:4318 or https://HOST")]
    Endpoint,
    #[error("OTLP endpoint: TLS is not available: {0}")]
    Tls(rustls::Error),
    #[error("OTLP exporter: {0}")]
    Exporter(String),
    #[error("OTLP exporter: no thread for it")]
    Thread(#[source] std::io::Error),
}

/// A provider whose spans go to `endpoint`.
pub(super) fn provider(
    service: &'static str,
    endpoint: &str,
    instance: &str,
) -> Result<SdkTracerProvider, OtlpError> {
    let uri = traces_uri(endpoint)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new()?)
        .with_endpoint(uri.to_string())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(REQUEST_TIMEOUT)
        .build()
        .map_err(|error| OtlpError::Exporter(error.to_string()))?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(MAX_WAITING_SPANS)
        .with_scheduled_delay(Duration::from_secs(1))
        .build();
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(
            BatchSpanProcessor::builder(exporter).with_batch_config(batches).build(),
        )
        .with_resource(resource)
        .build())
}

/// An address without a path means the standard path (OTLP specification, "OTLP/HTTP Request").
fn traces_uri(endpoint: &str) -> Result<Uri, OtlpError> {
    let uri: Uri = endpoint.trim().parse().map_err(|_| OtlpError::Endpoint)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(OtlpError::Endpoint);
    }
    let mut parts = uri.into_parts();
    if parts.path_and_query.as_ref().is_none_or(|path| path.path() == "/") {
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/v1/traces"));
    }
    Uri::from_parts(parts).map_err(|_| OtlpError::Endpoint)
}

/// One request, one connection, on the exporter's own thread: it has a small runtime of its own, so
/// that the last traces can leave when the process's runtimes have ended.
struct Client {
    runtime: Mutex<tokio::runtime::Runtime>,
    tls: TlsConnector,
}

impl Client {
    fn new() -> Result<Self, OtlpError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(OtlpError::Thread)?;
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(OtlpError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { runtime: Mutex::new(runtime), tls: TlsConnector::from(Arc::new(tls)) })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    // Called on the exporter's thread, which is there to wait: blocking it is what it is for.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = tokio::time::timeout;
        runtime.block_on(async { sent(REQUEST_TIMEOUT, send(&self.tls, request)).await? })
    }
}

async fn send(tls: &TlsConnector, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri();
    let host = uri.host().ok_or("no host")?.to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = TcpStream::connect((bare.as_str(), port)).await?;
    match secure {
        true => {
            let name = ServerName::try_from(bare)?;
            exchange(tls.connect(name, stream).await?, request).await
        }
        false => exchange(stream, request).await,
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or("no host")?.as_str().parse()?;
    parts.headers.insert(header::HOST, authority);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse()?;
    let response = async {
        let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_LEN_BYTES).collect().await?.to_bytes();
        drop(sender);
        Ok::<_, HttpError>(Response::from_parts(parts, body))
    };
    let (response, _closed) = tokio::join!(response, connection);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_address_gets_the_standard_path_and_nonsense_a_hint() {
        for (given, wanted) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("https://otel.example/custom?key=1", "https://otel.example/custom?key=1"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(traces_uri(given).unwrap().to_string(), wanted);
        }
        for bad in ["", "localhost:4318", "grpc://localhost:4317", "http://", "ftp://x"] {
            assert!(traces_uri(bad).is_err(), "{bad}");
        }
    }
}
