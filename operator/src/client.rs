//! The client of the API server: no request without an end, and none uncounted.
//!
//! A layer around kube's own stack gives every request but a watch ten seconds, its answer's body
//! included, and tells a [`Requests`] how each one ended. That is also how anybody knows that a
//! quiet watch is alive: the server closes it every few minutes and a good one is opened again.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use tower::{BoxError, Layer, Service};

use crate::telemetry::Metrics;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Plural, as in `pods`; with a subresource `pods/status`. Bounded by what this program asks.
    pub resource: String,
    pub namespace: Option<String>,
    /// Only those with certain labels.
    pub selected: bool,
}

/// How requests ended.
pub struct Requests {
    metrics: Arc<Metrics>,
    /// When each resource was last listed or began to be watched.
    reads: Mutex<BTreeMap<Target, Instant>>,
}

impl Requests {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, reads: Mutex::default() }
    }

    /// When a list or watch of it last began well.
    pub fn last_read(&self, target: &Target) -> Option<Instant> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).get(target).copied()
    }

    fn ended(&self, verb: &'static str, target: Target, code: Option<u16>) {
        self.metrics.api_request(verb, &target.resource, code);
        if matches!(verb, "list" | "watch") && code.is_some_and(|code| (200..300).contains(&code)) {
            self.note_read(target, Instant::now());
        }
    }

    pub(crate) fn note_read(&self, target: Target, at: Instant) {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).insert(target, at);
    }
}

/// A client for `config` that reports to `requests`. Each request ends within `timeout`.
pub fn client(
    config: kube::Config,
    requests: Arc<Requests>,
    timeout: Duration,
) -> kube::Result<Client> {
    let layer = Bounds { requests, timeout };
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

/// Makes [`Bounded`] services.
#[derive(Clone)]
pub struct Bounds {
    pub requests: Arc<Requests>,
    pub timeout: Duration,
}

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner, bounds: self.clone() }
    }
}

/// Ends each request in time and reports it.
#[derive(Clone)]
pub struct Bounded<S> {
    inner: S,
    bounds: Bounds,
}

/// No answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", .0.as_secs())]
struct TimedOut(Duration);

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, target) = read_request(request.method(), request.uri());
        let Bounds { requests, timeout } = self.bounds.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let whole = async {
                let (parts, body) = answer.await.map_err(Into::into)?.into_parts();
                let body = match verb {
                    "watch" => body.map_err(Into::into).boxed_unsync(),
                    _ => {
                        let bytes = body.collect().await.map_err(Into::into)?.to_bytes();
                        Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
                    }
                };
                Ok::<_, BoxError>(Response::from_parts(parts, body))
            };
            let result = match tokio::time::timeout(timeout, whole).await {
                Ok(result) => result,
                Err(_) => Err(TimedOut(timeout).into()),
            };
            let code = result.as_ref().ok().map(|response| response.status().as_u16());
            requests.ended(verb, target, code);
            result
        })
    }
}

/// An error of the client as people read it, without the Debug text that its Display repeats.
pub fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        // The layers add only their own names.
        other => {
            let mut cause: &dyn std::error::Error = other;
            while let Some(source) = cause.source() {
                cause = source;
            }
            cause.to_string()
        }
    }
}

/// The verb as RBAC names it, and what it is done to.
fn read_request(method: &Method, uri: &Uri) -> (&'static str, Target) {
    let mut segments = uri.path().trim_matches('/').split('/');
    // /api/v1/… for the core group, /apis/GROUP/VERSION/… for the others.
    match segments.next() {
        Some("api") => segments.next(),
        _ => segments.nth(1),
    };
    let mut rest: Vec<&str> = segments.collect();
    let mut namespace = None;
    if rest.len() > 2 && rest[0] == "namespaces" {
        namespace = Some(rest[1].to_owned());
        rest.drain(..2);
    }
    let (resource, name, subresource) =
        (rest.first().copied().unwrap_or("version"), rest.get(1), rest.get(2));
    let parameters = || uri.query().unwrap_or_default().split('&');
    let watches = parameters().any(|it| it == "watch=true");
    let selected = parameters().any(|it| it.starts_with("labelSelector="));
    let verb = match *method {
        Method::GET if watches => "watch",
        Method::GET if name.is_some() => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    let resource = match subresource {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_owned(),
    };
    (verb, Target { resource, namespace, selected })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use k8s_openapi::api::core::v1::Pod;
    use kube::Api;
    use kube::api::ListParams;
    use tower_test::mock;

    use super::*;

    fn read(method: Method, uri: &str) -> (&'static str, String, Option<String>) {
        let (verb, target) = read_request(&method, &uri.parse().unwrap());
        (verb, target.resource, target.namespace)
    }

    #[test]
    fn requests_are_named_as_rbac_names_them() {
        let voice = Some("voice".to_owned());
        for (method, uri, wanted) in [
            (
                Method::GET,
                "/api/v1/namespaces/voice/pods?&limit=500",
                ("list", "pods", voice.clone()),
            ),
            (Method::GET, "/api/v1/pods?watch=true&timeoutSeconds=290", ("watch", "pods", None)),
            (Method::GET, "/api/v1/namespaces/voice/secrets/a", ("get", "secrets", voice.clone())),
            (
                Method::PATCH,
                "/apis/trunkline.dev/v1alpha1/namespaces/voice/trunks/a/status?fieldManager=x",
                ("patch", "trunks/status", voice.clone()),
            ),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/voice/leases/a",
                ("update", "leases", voice.clone()),
            ),
            (Method::DELETE, "/api/v1/namespaces/voice/pods/a", ("delete", "pods", voice)),
            (
                Method::GET,
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a",
                ("get", "customresourcedefinitions", None),
            ),
            (Method::GET, "/api/v1/namespaces/voice", ("get", "namespaces", None)),
        ] {
            let (verb, resource, namespace) = read(method, uri);
            assert_eq!((verb, resource.as_str(), namespace), wanted, "{uri}");
        }
    }

    type Handle = mock::Handle<Request<Body>, Response<Body>>;

    fn mocked() -> (Client, Handle, Arc<Requests>) {
        let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
        let requests = Arc::new(Requests::new(Arc::new(Metrics::new())));
        let bounds = Bounds { requests: requests.clone(), timeout: Duration::from_secs(10) };
        (Client::new(bounds.layer(service), "voice"), handle, requests)
    }

    fn pods_in_voice() -> Target {
        Target { resource: "pods".into(), namespace: Some("voice".into()), selected: false }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_an_error_after_the_timeout() {
        let (client, mut handle, requests) = mocked();
        let pods: Api<Pod> = Api::default_namespaced(client);
        let silent = tokio::spawn(async move { handle.next_request().await });
        let before = tokio::time::Instant::now();
        let error = pods.list(&ListParams::default()).await.unwrap_err();
        assert_eq!(before.elapsed().as_secs(), 10);
        assert!(format!("{error:?}").contains("TimedOut"), "{error:?}");
        let target = pods_in_voice();
        assert_eq!(requests.last_read(&target), None);
        drop(silent);
    }

    #[tokio::test]
    async fn a_list_that_succeeds_is_remembered_and_a_refused_one_is_not() {
        let (client, mut handle, requests) = mocked();
        let pods: Api<Pod> = Api::default_namespaced(client);
        let target = pods_in_voice();
        let server = tokio::spawn(async move {
            for status in [StatusCode::FORBIDDEN, StatusCode::OK] {
                let (_, send) = handle.next_request().await.unwrap();
                let body = match status {
                    StatusCode::OK => {
                        r#"{"apiVersion":"v1","kind":"PodList","metadata":{},"items":[]}"#
                    }
                    _ => {
                        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no","reason":"Forbidden","code":403}"#
                    }
                };
                let response = Response::builder().status(status);
                send.send_response(response.body(Body::from(body.as_bytes().to_vec())).unwrap());
            }
        });
        assert!(pods.list(&ListParams::default()).await.is_err());
        assert_eq!(requests.last_read(&target), None);
        assert!(pods.list(&ListParams::default()).await.is_ok());
        assert!(requests.last_read(&target).is_some());
        server.await.unwrap();
    }
}
