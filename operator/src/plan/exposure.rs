//! Addresses: what each pod tells carriers, and what people enter at the carrier. From the one source
//! that the pool names, never guessed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Node};
use trunkline_crds::media_pool::{AddressSource, ExposureMode, MediaPoolSpec};
use trunkline_crds::trunk::Transport;

use super::seen::Seen;
use crate::names;
use crate::world::{Object, ObjectKey, ObjectKind, World};

/// Media ports that a load balancer can be asked to carry, each a rule of its own.
const MAX_BALANCED_PORTS: i32 = 100;

/// What one pod is to advertise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Advertised {
    /// The value of [`names::ADDRESS`]; `None` when nothing is known, or nothing needs to be said.
    pub(super) media: Option<String>,
    /// The value of [`names::SIP_ADDRESS`], where SIP comes in elsewhere.
    pub(super) sip: Option<String>,
    /// Why there is no address yet.
    pub(super) pending: Option<String>,
    /// What to know about the address there is.
    pub(super) note: Option<String>,
}

/// Looks addresses up, and remembers the names that must be resolved for it.
pub(super) struct Addresses<'a> {
    pub(super) world: &'a World,
    pub(super) pool: &'a str,
    pub(super) spec: &'a MediaPoolSpec,
    pub(super) unresolved: &'a RefCell<BTreeSet<String>>,
}

impl Addresses<'_> {
    pub(super) fn of_pod(&self, pod: &Seen<'_>) -> Advertised {
        let found = |addresses: Vec<IpAddr>, why: &str| match list(&addresses) {
            Some(media) => Advertised { media: Some(media), ..Advertised::default() },
            None => Advertised { pending: Some(why.to_owned()), ..Advertised::default() },
        };
        match self.spec.exposure.address.source {
            // Stands in the configuration.
            AddressSource::Static | AddressSource::Stun => Advertised::default(),
            AddressSource::PodIp => found(pod.pod_ips(), "the pod has no address yet"),
            AddressSource::NodeInternalIp => found(pod.host_ips(), "the pod is on no node yet"),
            AddressSource::NodeExternalIp => self.of_node(pod),
            AddressSource::LoadBalancer => {
                let media = pod.slot.map(|slot| names::pod(self.pool, slot)).unwrap_or_default();
                let sip = names::sip_service(self.pool);
                let address = |service: &str| list(&self.balanced(service));
                let pending = |service: &str| {
                    format!("the load balancer of Service {service} has no address yet")
                };
                let mut advertised = Advertised {
                    media: address(&media),
                    sip: address(&sip),
                    ..Advertised::default()
                };
                advertised.pending = match (&advertised.sip, &advertised.media) {
                    (None, _) => Some(pending(&sip)),
                    (_, None) => Some(pending(&media)),
                    (Some(_), Some(_)) => None,
                };
                advertised
            }
        }
    }

    fn of_node(&self, pod: &Seen<'_>) -> Advertised {
        let pending = |why: String| Advertised { pending: Some(why), ..Advertised::default() };
        let Some(nodes) = &self.world.nodes else {
            return pending(
                "the operator may not see Nodes: allow it to list and watch nodes (chart value \
                 rbac.nodes), or write exposure.address.source: NodeInternalIP or Static"
                    .to_owned(),
            );
        };
        let Some(name) = pod.node() else {
            return pending("the pod is on no node yet".to_owned());
        };
        let Some(node) = nodes.get(name) else {
            return pending(format!("Node {name:?} is not known yet"));
        };
        let external = list(&node_addresses(node, "ExternalIP"));
        let internal =
            || list(&node_addresses(node, "InternalIP")).or_else(|| list(&pod.host_ips()));
        match external.or_else(internal) {
            Some(media) => Advertised {
                note: node_addresses(node, "ExternalIP").is_empty().then(|| {
                    format!(
                        "Node {name:?} has no ExternalIP, so its InternalIP {media} is told: if \
                         carriers cannot reach that, write exposure.address.source: Static"
                    )
                }),
                media: Some(media),
                ..Advertised::default()
            },
            None => pending(format!("Node {name:?} has no address")),
        }
    }

    fn ingress(&self, service: &str) -> Vec<&LoadBalancerIngress> {
        let key = ObjectKey { kind: ObjectKind::Service, name: service.to_owned() };
        let Some(Object::Service(service)) = self.world.objects.get(&key).map(|it| &**it) else {
            return Vec::new();
        };
        let status = service.status.as_ref().and_then(|it| it.load_balancer.as_ref());
        status.and_then(|it| it.ingress.as_ref()).into_iter().flatten().collect()
    }

    /// The addresses of a Service's load balancer, names resolved.
    fn balanced(&self, service: &str) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for it in self.ingress(service) {
            if let Some(address) = it.ip.as_ref().and_then(|it| it.parse().ok()) {
                addresses.push(address);
            } else if let Some(name) = &it.hostname {
                self.unresolved.borrow_mut().insert(name.clone());
                addresses.extend(self.world.resolved.get(name).into_iter().flatten());
            }
        }
        addresses
    }

    /// Where SIP comes in: addresses, or names of load balancers. `pods` are those that may take calls.
    pub(super) fn of_sip(&self, pods: &[&Seen<'_>]) -> Vec<String> {
        let address = &self.spec.exposure.address;
        if address.source == AddressSource::Static {
            return address.static_.iter().flatten().map(ToString::to_string).collect();
        }
        if self.spec.exposure.mode == ExposureMode::LoadBalancer {
            let ingress = self.ingress(&names::sip_service(self.pool));
            return ingress.iter().filter_map(|it| it.hostname.clone().or(it.ip.clone())).collect();
        }
        self.of_media(pods)
    }

    /// Where media comes in, each once.
    pub(super) fn of_media(&self, pods: &[&Seen<'_>]) -> Vec<String> {
        let address = &self.spec.exposure.address;
        if address.source == AddressSource::Static {
            return address.static_.iter().flatten().map(ToString::to_string).collect();
        }
        let all: BTreeSet<IpAddr> = pods
            .iter()
            .filter_map(|it| self.of_pod(it).media)
            .flat_map(|list| list.split(',').filter_map(|it| it.parse().ok()).collect::<Vec<_>>())
            .collect();
        all.into_iter().map(|it| it.to_string()).collect()
    }
}

/// One a family at most, separated by commas; `None` for none.
fn list(addresses: &[IpAddr]) -> Option<String> {
    let v4 = addresses.iter().find(|it| it.is_ipv4());
    let v6 = addresses.iter().find(|it| it.is_ipv6());
    let texts: Vec<_> = v4.into_iter().chain(v6).map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

fn node_addresses(node: &Node, type_: &str) -> Vec<IpAddr> {
    let all = node.status.as_ref().and_then(|it| it.addresses.as_ref()).into_iter().flatten();
    all.filter(|it| it.type_ == type_).filter_map(|it| it.address.parse().ok()).collect()
}

/// What a carrier is told: `sips:198.51.100.20:5061`. `None` when the pool has that transport off.
pub(super) fn sip_uri(spec: &MediaPoolSpec, transport: Transport, host: &str) -> Option<String> {
    let sip = &spec.exposure.sip;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match transport {
        Transport::Tls => (sip.tls > 0).then(|| format!("sips:{host}:{}", sip.tls)),
        Transport::Tcp => (sip.tcp > 0).then(|| format!("sip:{host}:{};transport=tcp", sip.tcp)),
        Transport::Udp => (sip.udp > 0).then(|| format!("sip:{host}:{}", sip.udp)),
    }
}

/// Why the pool's exposure cannot work, and what to write instead.
pub(super) fn contradiction(spec: &MediaPoolSpec) -> Option<String> {
    use AddressSource as Source;
    let exposure = &spec.exposure;
    let (mode, source) = (exposure.mode, exposure.address.source);
    let fits = match mode {
        ExposureMode::HostNetwork => source != Source::LoadBalancer,
        ExposureMode::LoadBalancer => matches!(source, Source::LoadBalancer | Source::Static),
        ExposureMode::PodNetwork => matches!(source, Source::PodIp | Source::Static),
    };
    let write = match mode {
        ExposureMode::HostNetwork => "NodeExternalIP, NodeInternalIP or Static",
        ExposureMode::LoadBalancer => "LoadBalancer or Static",
        ExposureMode::PodNetwork => "PodIP or Static",
    };
    if !fits {
        return Some(format!(
            "in mode {mode} carriers do not reach the address that {source} gives: write \
             exposure.address.source: {write}"
        ));
    }
    if mode == ExposureMode::LoadBalancer && exposure.sip.tls == 0 {
        return Some(
            "a load balancer carries SIP over TLS only: write a port for exposure.sip.tls".into(),
        );
    }
    if mode == ExposureMode::LoadBalancer && exposure.media.ports_per_pod > MAX_BALANCED_PORTS {
        return Some(format!(
            "a load balancer carries each media port by a rule of its own: write \
             exposure.media.portsPerPod: 2 to {MAX_BALANCED_PORTS}, two for each call at once"
        ));
    }
    None
}
