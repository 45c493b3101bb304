//! Connections of the HTTP interface, with limits that a slow or greedy client meets.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Connections at once; the next one waits.
const MAX_CONNECTIONS: usize = 128;
/// How long a client may take to write the head of a request, and may idle before the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// The size of a request's head.
const MAX_HEAD_LEN_BYTES: usize = 16 * 1024;

/// Serves as long as the process lives.
pub async fn serve(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed, so there is always a permit to wait for.
        let permit = room.clone().acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: give others time to close theirs.
                warn!(%error, "http: cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD_LEN_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                debug!(%error, "http: connection");
            }
            drop(permit);
        });
    }
}
