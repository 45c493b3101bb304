//! Asks each media pod for its status: the only thing that the operator hears of a pod's inside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tracing::debug;
use zeroize::Zeroizing;

use crate::telemetry::Metrics;
use crate::world::{NodeState, NodeStatus, Poll};
use crate::{names, plan};

/// A node answers from memory.
const TIMEOUT: Duration = Duration::from_secs(3);
/// With some thousands of trunks a status is a few megabytes.
const MAX_STATUS_LEN_BYTES: usize = 16 * 1024 * 1024;
/// Questions at once.
const CONCURRENT_POLLS: usize = 64;
/// How often it is looked whom to ask.
pub const TICK: Duration = Duration::from_millis(250);
/// Between two questions to a pod that starts, or that lacks the configuration it should have.
const SOON: Duration = Duration::from_millis(500);
/// A pod that lacks its configuration for longer is asked no more often than others.
const PATIENCE: Duration = Duration::from_secs(60);

/// A media pod as far as it matters here.
#[derive(Clone, Debug)]
pub struct Subject {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub pool: String,
    pub address: SocketAddr,
    /// The configuration it should have.
    pub config_hash: Option<String>,
}

impl Subject {
    /// `None` for a pod without an address, and for one that has ended.
    pub fn read(pod: &Pod) -> Option<Self> {
        if pod.status.as_ref()?.phase.as_deref() != Some("Running") {
            return None;
        }
        Some(Self {
            namespace: pod.namespace()?,
            name: pod.name_any(),
            uid: pod.uid()?,
            pool: pod.labels().get(names::POOL)?.clone(),
            address: plan::admin_address(pod)?,
            config_hash: pod.annotations().get(names::CONFIG_HASH).cloned(),
        })
    }

    fn url(&self, template: &str) -> String {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        template
            .replace("{namespace}", &self.namespace)
            .replace("{pod}", &self.name)
            .replace("{ip}", &ip)
            .replace("{port}", &self.address.port().to_string())
    }
}

/// What is known of one pod.
#[derive(Default)]
struct Known {
    poll: Poll,
    asked_at: Option<Instant>,
    in_flight: bool,
    /// How long the last answer took.
    took: Duration,
    /// Since when it should have another configuration.
    behind_since: Option<Instant>,
}

impl Known {
    fn is_due(&self, period: Duration, now: Instant) -> bool {
        let Some(asked_at) = self.asked_at else { return !self.in_flight };
        let behind = self.behind_since.is_some_and(|since| now < since + PATIENCE);
        let ready = self.poll.status.as_ref().is_some_and(|it| it.state != NodeState::NotReady);
        let silent = self.poll.silent_since.is_some() && self.poll.heard_at.is_some();
        let gap = if !silent && (behind || !ready) { SOON.min(period) } else { period };
        // A status of thousands of trunks is work for the pod: no more than a fifth of its time.
        !self.in_flight && now >= asked_at + gap.max(self.took * 5)
    }
}

/// The polls of all pods.
pub struct Polls {
    period: Duration,
    url: String,
    metrics: Arc<Metrics>,
    known: Mutex<BTreeMap<String, Known>>,
}

/// What the poller needs from the rest.
pub trait Sight: Send + Sync + 'static {
    /// Whom to ask; nobody, when others lead.
    fn subjects(&self) -> Vec<Subject>;
    /// The pool's admin token.
    fn token(&self, namespace: &str, pool: &str) -> Option<Zeroizing<String>>;
    /// A pod says something new.
    fn changed(&self, namespace: &str);
}

impl Polls {
    pub fn new(period: Duration, url: String, metrics: Arc<Metrics>) -> Self {
        Self { period, url, metrics, known: Mutex::default() }
    }

    /// The polls of these pods.
    pub fn of<'a>(&self, uids: impl Iterator<Item = &'a str>) -> BTreeMap<String, Poll> {
        let known = self.lock();
        uids.filter_map(|uid| known.get(uid).map(|known| (uid.to_owned(), known.poll.clone())))
            .collect()
    }

    /// Asks for ever.
    pub async fn run(self: Arc<Self>, sight: Arc<dyn Sight>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asked = JoinSet::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(_) = asked.join_next() => continue,
            }
            for subject in
                self.due(sight.subjects(), CONCURRENT_POLLS - asked.len(), Instant::now())
            {
                let (polls, sight) = (self.clone(), sight.clone());
                asked.spawn(async move {
                    let answer = polls.ask(&subject, sight.as_ref()).await;
                    if polls.answered(&subject, answer, Instant::now()) {
                        sight.changed(&subject.namespace);
                    }
                });
            }
        }
    }

    /// Whom to ask now, at most `room` of them; forgets pods that are gone.
    fn due(&self, subjects: Vec<Subject>, room: usize, now: Instant) -> Vec<Subject> {
        let mut known = self.lock();
        let there: BTreeSet<&str> = subjects.iter().map(|subject| subject.uid.as_str()).collect();
        known.retain(|uid, known| known.in_flight || there.contains(uid.as_str()));
        let mut due = Vec::new();
        for subject in subjects {
            let known = known.entry(subject.uid.clone()).or_default();
            let has = known.poll.status.as_ref().map(|status| status.config_hash.as_str());
            if subject.config_hash.as_deref() == has {
                known.behind_since = None;
            } else {
                known.behind_since.get_or_insert(now);
            }
            if due.len() < room && known.is_due(self.period, now) {
                known.in_flight = true;
                known.asked_at = Some(now);
                due.push(subject);
            }
        }
        due
    }

    /// Whether something new was said.
    fn answered(
        &self,
        subject: &Subject,
        answer: Result<NodeStatus, PollError>,
        now: Instant,
    ) -> bool {
        self.metrics.poll(answer.is_ok());
        let mut known = self.lock();
        let Some(known) = known.get_mut(&subject.uid) else { return false };
        known.in_flight = false;
        known.took = known
            .asked_at
            .map_or(Duration::ZERO, |asked_at| now.saturating_duration_since(asked_at));
        match answer {
            Ok(status) => {
                if Some(&status.config_hash) == subject.config_hash.as_ref()
                    && let Some(since) = known.behind_since.take()
                    && known.poll.status.is_some()
                {
                    self.metrics.config_acknowledged(now.saturating_duration_since(since));
                }
                let before = std::mem::take(&mut known.poll);
                known.poll = before.clone();
                known.poll.heard(status, Timestamp::now());
                is_news(&before, &known.poll)
            }
            Err(error) => {
                debug!(pod = subject.name, namespace = subject.namespace, %error, "status poll");
                let first = known.poll.silent_since.is_none();
                known.poll.failed(Timestamp::now());
                first
            }
        }
    }

    async fn ask(&self, subject: &Subject, sight: &dyn Sight) -> Result<NodeStatus, PollError> {
        let token = sight.token(&subject.namespace, &subject.pool).ok_or(PollError::NoToken)?;
        let body =
            get(&subject.url(&self.url), Some(&token), MAX_STATUS_LEN_BYTES, TIMEOUT).await?;
        serde_json::from_slice(&body).map_err(PollError::Shape)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters alone are no news; neither is the third time that a pod says that it is done.
fn is_news(before: &Poll, after: &Poll) -> bool {
    let essence = |poll: &Poll| {
        let status = poll.status.clone().map(|mut status| {
            (status.accepted, status.refused) = (0, 0);
            for trunk in status.trunks.values_mut() {
                if let Some(options) = &mut trunk.options {
                    options.rtt_milliseconds = None;
                    if options.ok {
                        options.message.clear(); // it says how long the answer took
                    }
                }
            }
            status
        });
        (status, poll.silent_since.is_some(), poll.idle_polls.min(2))
    };
    essence(before) != essence(after)
}

/// Why a question brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    #[error("the pool has no token yet")]
    NoToken,
    #[error("write an address as http://HOST:PORT/PATH")]
    Address,
    #[error("no answer in {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("connect: {0}")]
    Connect(#[source] std::io::Error),
    #[error("HTTP: {0}")]
    Http(#[source] hyper::Error),
    #[error("HTTP: {0}")]
    Body(String),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("the answer is no status: {0}")]
    Shape(#[source] serde_json::Error),
}

/// The body of a 200 answer, of at most so many bytes.
pub async fn get(
    url: &str,
    token: Option<&str>,
    max_len_bytes: usize,
    timeout: Duration,
) -> Result<Bytes, PollError> {
    let uri: Uri = url.parse().map_err(|_| PollError::Address)?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(PollError::Address);
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().unwrap_or(80);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path).header(header::HOST, authority.as_str());
    if let Some(token) = token {
        let bearer = Zeroizing::new(format!("Bearer {token}"));
        let mut value: http::HeaderValue =
            bearer.as_str().try_into().map_err(|_| PollError::NoToken)?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| PollError::Address)?;
    let exchange = async {
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(PollError::Connect)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(PollError::Http)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(PollError::Http)?;
            if response.status() != http::StatusCode::OK {
                return Err(PollError::Status(response.status().as_u16()));
            }
            let body = Limited::new(response.into_body(), max_len_bytes).collect().await;
            Ok(body.map_err(|error| PollError::Body(error.to_string()))?.to_bytes())
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            // The connection ends first only when it failed; the answer says how.
            Err(error) = connection => Err(PollError::Http(error)),
        }
    };
    tokio::time::timeout(timeout, exchange).await.map_err(|_| PollError::Timeout(timeout))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::CallCounts;

    const PERIOD: Duration = Duration::from_secs(5);

    fn polls() -> Polls {
        Polls::new(PERIOD, "http://{ip}:{port}/v1/status".into(), Arc::new(Metrics::new()))
    }

    fn subject(hash: &str) -> Subject {
        Subject {
            namespace: "voice".into(),
            name: "default-0".into(),
            uid: "1".into(),
            pool: "default".into(),
            address: "[2001:db8::7]:18080".parse().unwrap(),
            config_hash: Some(hash.into()),
        }
    }

    fn status(hash: &str, active: u32) -> NodeStatus {
        NodeStatus {
            config_hash: hash.into(),
            state: NodeState::Ready,
            calls: CallCounts { active, setup: 0 },
            ..NodeStatus::default()
        }
    }

    #[test]
    fn an_ipv6_pod_is_asked_at_its_address() {
        assert_eq!(
            subject("a").url("http://{ip}:{port}/v1/status"),
            "http://[2001:db8::7]:18080/v1/status"
        );
    }

    #[test]
    fn a_pod_is_asked_soon_until_it_has_its_configuration_and_then_now_and_then() {
        let polls = polls();
        let start = Instant::now();
        let ask = |hash: &str, at: Duration| polls.due(vec![subject(hash)], 64, start + at).len();
        assert_eq!(ask("a", Duration::ZERO), 1);
        assert_eq!(ask("a", PERIOD), 0, "one question at a time");
        assert!(polls.answered(&subject("a"), Ok(status("a", 0)), start));
        assert_eq!(ask("a", SOON), 0);
        assert_eq!(ask("a", PERIOD), 1);
        assert!(!polls.answered(&subject("a"), Ok(status("a", 0)), start), "nothing new");
        // The kick is seen on the pod: now it is behind.
        assert_eq!(ask("b", PERIOD + SOON), 1);
        assert!(!polls.answered(&subject("b"), Ok(status("a", 0)), start + PERIOD + SOON));
        assert_eq!(ask("b", PERIOD + SOON * 2), 1);
        assert!(polls.answered(&subject("b"), Ok(status("b", 0)), start + PERIOD + SOON * 2));
        assert!(polls.metrics.write().contains("config_acknowledged_seconds_count 1"));
        assert_eq!(ask("b", PERIOD + SOON * 4), 0);
    }

    #[test]
    fn a_pod_that_answers_slowly_is_asked_less() {
        let (polls, start) = (polls(), Instant::now());
        let slow = Duration::from_secs(2);
        assert_eq!(polls.due(vec![subject("b")], 64, start).len(), 1);
        polls.answered(&subject("b"), Ok(status("a", 0)), start + slow);
        assert_eq!(polls.due(vec![subject("b")], 64, start + slow + SOON).len(), 0);
        assert_eq!(polls.due(vec![subject("b")], 64, start + slow * 5).len(), 1);
    }

    #[test]
    fn a_pod_that_is_gone_is_forgotten() {
        let polls = polls();
        polls.due(vec![subject("a")], 64, Instant::now());
        polls.answered(&subject("a"), Ok(status("a", 1)), Instant::now());
        assert_eq!(polls.of(["1"].into_iter()).len(), 1);
        polls.due(Vec::new(), 64, Instant::now());
        assert_eq!(polls.of(["1"].into_iter()).len(), 0);
    }

    #[test]
    fn silence_is_told_once_and_keeps_the_last_numbers() {
        let polls = polls();
        let now = Instant::now();
        polls.due(vec![subject("a")], 64, now);
        polls.answered(&subject("a"), Ok(status("a", 7)), now);
        assert!(polls.answered(&subject("a"), Err(PollError::Timeout(TIMEOUT)), now));
        assert!(!polls.answered(&subject("a"), Err(PollError::Timeout(TIMEOUT)), now));
        let poll = polls.of(["1"].into_iter()).remove("1").unwrap();
        assert_eq!(poll.status.unwrap().calls.active, 7);
        assert!(poll.silent_since.is_some());
    }

    #[tokio::test]
    async fn the_token_is_sent_and_a_refusal_is_no_status() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/status", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let mut heads = Vec::new();
            for answer in ["200 OK", "401 Unauthorized"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 1024];
                let len = stream.read(&mut head).await.unwrap();
                heads.push(String::from_utf8_lossy(&head[..len]).to_lowercase());
                let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            heads
        });
        let body = get(&url, Some("t0ken"), 1024, TIMEOUT).await.unwrap();
        assert_eq!(&body[..], b"{}");
        assert!(matches!(get(&url, None, 1024, TIMEOUT).await, Err(PollError::Status(401))));
        let heads = server.await.unwrap();
        assert!(heads[0].contains("authorization: bearer t0ken"), "{}", heads[0]);
        assert!(!heads[1].contains("authorization"), "{}", heads[1]);
    }
}
