//! Leader election: of several operators one writes, and knows at every moment whether it still may.
//!
//! [`election`] decides; here its questions go to the API server. The term goes to everybody who
//! writes as a [`Leadership`], which compares the clock before each write: a process that was
//! frozen past its term writes nothing when it wakes, and ends.

pub mod election;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tracing::{info, warn};

use election::{Election, Step};

/// A request that takes longer has failed. Shorter than elsewhere: a renewal that hangs leaves time
/// for a second one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether this process leads.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether a write may be sent now. Ask right before each one.
    pub fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this process leads; for ever, when it never does.
    pub async fn acquired(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// One that leads for ever, where there is nobody to compete with.
    pub fn alone() -> Self {
        let far = Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600);
        Self(watch::channel(Some(far)).1)
    }
}

/// How a candidacy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody else may lead now: end the process.
    Lost,
    /// As asked; a Lease that was ours has been given back.
    Released,
}

/// A candidate and the Lease it wants.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    election: Election,
    terms: watch::Sender<Option<Instant>>,
}

type Changes = BoxStream<'static, kube::Result<WatchEvent<Lease>>>;

impl Candidate {
    pub fn new(leases: Api<Lease>, name: String, election: Election) -> Self {
        Self { leases, name, election, terms: watch::channel(None).0 }
    }

    pub fn leadership(&self) -> Leadership {
        Leadership(self.terms.subscribe())
    }

    /// Competes until the Lease is lost or `stop` is done.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Ended {
        let mut stop = pin!(stop);
        let mut changes = None;
        loop {
            let step = self.election.poll(Instant::now());
            let asked = async {
                match step {
                    Step::Read => {
                        changes = None;
                        self.read().await;
                    }
                    Step::Write => self.write().await,
                    Step::Wait(until) => self.wait(until, &mut changes).await,
                    Step::Exit => {}
                }
                step
            };
            tokio::select! {
                biased;
                step = asked => {
                    self.terms.send_replace(self.election.holds_until());
                    if step == Step::Exit {
                        return Ended::Lost;
                    }
                }
                () = &mut stop => {
                    self.terms.send_replace(None);
                    self.release().await;
                    return Ended::Released;
                }
            }
        }
    }

    async fn read(&mut self) {
        let asked_at = Instant::now();
        let answer = timed(self.leases.get_opt(&self.name)).await;
        let now = Instant::now();
        match answer {
            Ok(lease) => self.election.handle_seen(lease, now),
            Err(failure) => {
                warn!(lease = self.name, %failure, "leader election: the Lease cannot be read");
                self.election.handle_failed(asked_at, now);
            }
        }
    }

    async fn write(&mut self) {
        let claim = self.election.claim(&self.name, Timestamp::now());
        let params = PostParams::default();
        let asked_at = Instant::now();
        let answer = match claim.metadata.resource_version {
            Some(_) => timed(self.leases.replace(&self.name, &params, &claim)).await,
            None => timed(self.leases.create(&params, &claim)).await,
        };
        let now = Instant::now();
        match answer {
            Ok(lease) => {
                if self.election.is_standby() {
                    info!(lease = self.name, "leading");
                }
                self.election.handle_written(lease, asked_at);
            }
            // 409 for a resourceVersion that is old and for a name that is taken; 404 when it was
            // deleted under us.
            Err(Failure::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                self.election.handle_conflict(now);
            }
            Err(failure) => {
                warn!(lease = self.name, %failure, "leader election: the Lease cannot be written");
                self.election.handle_failed(asked_at, now);
            }
        }
    }

    /// Until the time has come, or, for a standby, until the Lease changes.
    async fn wait(&mut self, until: Instant, changes: &mut Option<Changes>) {
        let until = tokio::time::sleep_until(until.into());
        if !self.election.is_standby() {
            until.await;
            return;
        }
        let Some(version) = self.election.seen_version() else {
            until.await;
            return;
        };
        let stream = changes.get_or_insert_with(|| watch_lease(&self.leases, &self.name, version));
        let change = tokio::select! {
            () = until => return,
            change = stream.next() => change,
        };
        let now = Instant::now();
        match change {
            Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease))) => {
                self.election.handle_seen(Some(lease), now);
            }
            Some(Ok(WatchEvent::Deleted(_))) => self.election.handle_seen(None, now),
            Some(Ok(WatchEvent::Bookmark(_))) => {}
            // Watches end now and then; what is true is read again.
            Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => {
                *changes = None;
                self.election.handle_blind(now);
            }
        }
    }

    async fn release(&mut self) {
        let Some(lease) = self.election.release(&self.name, Timestamp::now()) else { return };
        match timed(self.leases.replace(&self.name, &PostParams::default(), &lease)).await {
            Ok(_) => info!(lease = self.name, "no longer leading: the Lease is given back"),
            Err(failure) => {
                warn!(lease = self.name, %failure, "the Lease was not given back and runs out");
            }
        }
    }
}

fn watch_lease(leases: &Api<Lease>, name: &str, version: &str) -> Changes {
    let (leases, version) = (leases.clone(), version.to_owned());
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    futures_util::stream::once(async move { leases.watch(&params, &version).await })
        .map_ok(StreamExt::boxed)
        .try_flatten()
        .boxed()
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Api(#[source] kube::Error),
    #[error("no answer in {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
}

async fn timed<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(Failure::Api),
        Err(_) => Err(Failure::Timeout),
    }
}
