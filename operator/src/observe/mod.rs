//! What is: watches of the API server, polls of the media pods, addresses of balancers. All of it ends
//! in a [`World`], and each change in a call that names the namespace to look at again.
//!
//! ```text
//!   Trunk, Agent, MediaPool ─┐
//!   Pod, our objects, Node  ─┼─ Feed ─────┐
//!   Secret (metadata) ───────┘            ├─▶ World of a namespace
//!                        Secrets (values) ┤
//!                  Polls (/v1/status) ────┘
//! ```

pub mod feed;
pub mod health;
pub mod poll;
pub mod secrets;
mod trim;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::PartialObjectMeta;
use kube::{Client, Resource, ResourceExt};
use trunkline_crds::{Agent, MediaPool, Trunk};
use zeroize::Zeroizing;

use crate::lease::Leadership;
use crate::names;
use crate::plan::{Rendered, config};
use crate::wakes::Wakes;
use crate::world::{Object, ObjectKey, Poll, RandomText, Refusal, Settings, StatusKey, World};
use feed::{Feed, Kind, News, Scope};
use health::Health;
use poll::{Polls, Sight, Subject};
use secrets::Secrets;

/// What a pass remembers for the next one of its namespace. Lost with the process, and no harm done.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub rendered: BTreeMap<String, Arc<Rendered>>,
    pub refused: BTreeMap<String, Refusal>,
    pub status_written: BTreeMap<StatusKey, Timestamp>,
    /// Names whose addresses are wanted.
    pub resolve: BTreeSet<String>,
}

/// Why there is no World to plan with.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("waiting for the watches: {0}")]
    Watches(String),
    #[error(transparent)]
    Secret(#[from] secrets::Unreadable),
    #[error("no random numbers can be had")]
    Random,
}

/// All that is watched.
pub struct Observer {
    settings: Arc<Settings>,
    health: Arc<Health>,
    leadership: Leadership,
    wakes: Arc<Wakes>,
    trunks: Feed<Trunk>,
    agents: Feed<Agent>,
    pools: Feed<MediaPool>,
    pods: Feed<Pod>,
    nodes: Option<Feed<Node>>,
    our_secrets: Feed<Secret>,
    service_accounts: Feed<ServiceAccount>,
    services: Feed<Service>,
    disruption_budgets: Feed<PodDisruptionBudget>,
    network_policies: Feed<NetworkPolicy>,
    secret_versions: Feed<PartialObjectMeta<Secret>>,
    secrets: Arc<Secrets>,
    polls: Arc<Polls>,
    resolved: Mutex<BTreeMap<String, (Instant, Vec<IpAddr>)>>,
}

/// The key of the config Secret under which the admin token stands.
const TOKEN: &str = "token";
/// A load balancer's name is asked again after so long; most of them serve 60 s.
const RESOLVE_AGAIN: Duration = Duration::from_secs(60);
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// What [`Observer::start`] needs.
pub struct Setup {
    pub client: Client,
    pub scope: Scope,
    pub watch_nodes: bool,
    pub settings: Arc<Settings>,
    pub health: Arc<Health>,
    pub leadership: Leadership,
    pub polls: Arc<Polls>,
    pub wakes: Arc<Wakes>,
}

impl Observer {
    /// Starts every watch.
    pub fn start(setup: Setup) -> Arc<Self> {
        let Setup { client, scope, watch_nodes, settings, health, leadership, polls, wakes } =
            setup;
        let secrets = Arc::new(Secrets::new(client.clone()));
        let observer =
            Self {
                trunks: namespaced(&client, &scope, &health, &wakes, trim::spec::<Trunk>()),
                agents: namespaced(&client, &scope, &health, &wakes, trim::spec::<Agent>()),
                pools: namespaced(&client, &scope, &health, &wakes, trim::spec::<MediaPool>()),
                pods: namespaced(&client, &scope, &health, &wakes, trim::labelled(names::POOL)),
                nodes: watch_nodes.then(|| {
                    let wakes = wakes.clone();
                    Feed::cluster(&client, &health, &trim::nodes(), move |_| wakes.wake(None))
                }),
                our_secrets: ours(&client, &scope, &health, &wakes),
                service_accounts: ours(&client, &scope, &health, &wakes),
                services: ours(&client, &scope, &health, &wakes),
                disruption_budgets: ours(&client, &scope, &health, &wakes),
                network_policies: ours(&client, &scope, &health, &wakes),
                secret_versions: {
                    let (secrets, wakes) = (secrets.clone(), wakes.clone());
                    Feed::namespaced(&client, &scope, &health, &trim::versions(), move |news| {
                        match news {
                            News::All => wakes.wake(None),
                            News::One(secret) => {
                                let namespace = secret.namespace().unwrap_or_default();
                                if secrets.is_wanted(&namespace, &secret.name_any()) {
                                    wakes.wake(Some(&namespace));
                                }
                            }
                        }
                    })
                },
                settings,
                health,
                leadership,
                wakes,
                secrets,
                polls,
                resolved: Mutex::default(),
            };
        Arc::new(observer)
    }

    /// Namespaces with something of ours in them.
    pub fn namespaces(&self) -> BTreeSet<String> {
        let kinds = self.trunks.namespaces().chain(self.agents.namespaces());
        kinds.chain(self.pools.namespaces()).chain(self.pods.namespaces()).collect()
    }

    /// Whether every watch that is needed has listed once.
    pub fn is_listed(&self) -> bool {
        self.obstacles(Instant::now()).is_empty()
    }

    pub fn pool(&self, namespace: &str, name: &str) -> Option<Arc<MediaPool>> {
        self.pools.in_namespace(namespace).find(|pool| pool.name_any() == name)
    }

    /// Why nothing can be planned yet; empty when it can.
    pub fn obstacles(&self, now: Instant) -> Vec<String> {
        self.health.reports(now).iter().filter_map(health::WatchReport::obstacle).collect()
    }

    /// The namespace as it is.
    pub async fn world(
        &self,
        namespace: &str,
        schema: u32,
        memory: &Memory,
    ) -> Result<World, NotReady> {
        let obstacles = self.obstacles(Instant::now());
        if !obstacles.is_empty() {
            return Err(NotReady::Watches(obstacles.join("; ")));
        }
        let pods = by_name(self.pods.in_namespace(namespace));
        let uids = pods.values().filter_map(|pod| pod.metadata.uid.as_deref());
        let polls: BTreeMap<String, Poll> = self.polls.of(uids);
        let mut world = World {
            namespace: namespace.to_owned(),
            settings: self.settings.clone(),
            schema,
            pools: by_name(self.pools.in_namespace(namespace)),
            trunks: by_name(self.trunks.in_namespace(namespace)),
            agents: by_name(self.agents.in_namespace(namespace)),
            secrets: BTreeMap::new(),
            pods,
            polls,
            nodes: self.nodes(),
            objects: self.objects(namespace),
            resolved: self.resolve(&memory.resolve).await,
            refused: memory.refused.clone(),
            rendered: memory.rendered.clone(),
            status_written: memory.status_written.clone(),
            fresh_token: random_text()?,
            fresh_key: random_text()?,
        };
        let versions = self
            .secret_versions
            .in_namespace(namespace)
            .filter_map(|secret| Some((secret.name_any(), secret.resource_version()?)))
            .collect();
        let wanted = config::wanted_secrets(&world);
        world.secrets = self.secrets.read(namespace, wanted, &versions).await?;
        Ok(world)
    }

    /// `None` while they cannot be seen: what was seen before may be long past.
    fn nodes(&self) -> Option<BTreeMap<String, Arc<Node>>> {
        let feed = self.nodes.as_ref()?;
        let now = Instant::now();
        let stale = feed.watches().any(|watch| {
            let report = self.health.report(watch, now);
            !report.listed || report.age >= health::MAX_WATCH_AGE
        });
        (!stale).then(|| by_name(feed.all()))
    }

    fn objects(&self, namespace: &str) -> BTreeMap<ObjectKey, Arc<Object>> {
        let secrets =
            self.our_secrets.in_namespace(namespace).map(|it| Object::Secret((*it).clone()));
        let accounts = self.service_accounts.in_namespace(namespace);
        let services = self.services.in_namespace(namespace);
        let budgets = self.disruption_budgets.in_namespace(namespace);
        let policies = self.network_policies.in_namespace(namespace);
        secrets
            .chain(accounts.map(|it| Object::ServiceAccount((*it).clone())))
            .chain(services.map(|it| Object::Service((*it).clone())))
            .chain(budgets.map(|it| Object::PodDisruptionBudget((*it).clone())))
            .chain(policies.map(|it| Object::NetworkPolicy((*it).clone())))
            .map(|object| (object.key(), Arc::new(object)))
            .collect()
    }

    /// Addresses of names, as DNS gives them; without an answer the last ones stay.
    async fn resolve(&self, names: &BTreeSet<String>) -> BTreeMap<String, Vec<IpAddr>> {
        let now = Instant::now();
        for name in names {
            let fresh = |(at, _): &(Instant, _)| now.saturating_duration_since(*at) < RESOLVE_AGAIN;
            if self.resolved().get(name).is_some_and(fresh) {
                continue;
            }
            let answer =
                tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((name.as_str(), 0)))
                    .await;
            if let Ok(Ok(found)) = answer {
                let addresses: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
                self.resolved().insert(name.clone(), (now, addresses.into_iter().collect()));
            }
        }
        let known = self.resolved();
        let found = |name: &String| Some((name.clone(), known.get(name)?.1.clone()));
        names.iter().filter_map(found).collect()
    }

    fn resolved(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Instant, Vec<IpAddr>)>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sight for Observer {
    fn subjects(&self) -> Vec<Subject> {
        match self.leadership.holds() {
            true => self.pods.all().filter_map(|pod| Subject::read(&pod)).collect(),
            false => Vec::new(),
        }
    }

    fn token(&self, namespace: &str, pool: &str) -> Option<Zeroizing<String>> {
        let name = names::config_secret(pool);
        let secret = self.our_secrets.in_namespace(namespace).find(|it| it.name_any() == name)?;
        let token = secret.data.as_ref()?.get(TOKEN)?;
        Some(Zeroizing::new(String::from_utf8(token.0.clone()).ok()?))
    }

    fn changed(&self, namespace: &str) {
        self.wakes.wake(Some(namespace));
    }
}

fn namespaced<K>(
    client: &Client,
    scope: &Scope,
    health: &Health,
    wakes: &Arc<Wakes>,
    kind: Kind<K>,
) -> Feed<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
    K::DynamicType: Default + Clone + Eq + std::hash::Hash + Send + Sync,
{
    let wakes = wakes.clone();
    Feed::namespaced(client, scope, health, &kind, move |news| match news {
        News::One(object) => wakes.wake(object.meta().namespace.as_deref()),
        News::All => wakes.wake(None),
    })
}

/// What we made beside pods.
fn ours<K>(client: &Client, scope: &Scope, health: &Health, wakes: &Arc<Wakes>) -> Feed<K>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
    K::DynamicType: Default + Clone + Eq + std::hash::Hash + Send + Sync,
{
    let selector = format!("{}={}", names::MANAGED_BY, names::OPERATOR);
    namespaced(client, scope, health, wakes, trim::labelled(&selector))
}

fn by_name<K: Resource>(objects: impl Iterator<Item = Arc<K>>) -> BTreeMap<String, Arc<K>> {
    objects.map(|object| (object.name_any(), object)).collect()
}

fn random_text() -> Result<RandomText, NotReady> {
    use base64::Engine as _;
    let mut bytes = Zeroizing::new([0u8; 32]);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(bytes.as_mut()).map_err(|_| NotReady::Random)?;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.as_ref());
    Ok(RandomText(Zeroizing::new(text)))
}
