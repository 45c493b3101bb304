//! The objects of a pool, as they should be: pure builders.
//!
//! Pods alone belong to the MediaPool; what a pod needs until its last call has ended (configuration,
//! SIP Service, ServiceAccount, …) belongs to the pool and to every pod, so garbage collection takes it
//! last; the Service of one pod's media belongs to that pod. Labels and annotations of the MediaPool are
//! not copied: tools would take what bears their marks for theirs.

mod pod;
mod service;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sha2::{Digest as _, Sha256};
use trunkline_crds::media_pool::{ExposureMode, MediaPoolSpec};

pub(super) use pod::{PodPlace, admin_port, pod, revision};
pub(super) use service::{media_service, sip_service};

use super::config::{Rendered, hex};
use crate::names;
use crate::world::{Object, Settings};

/// What all objects of one pool have in common.
#[derive(Clone, Copy)]
pub(super) struct Maker<'a> {
    pub(super) settings: &'a Settings,
    pub(super) namespace: &'a str,
    pub(super) pool: &'a str,
    pub(super) pool_uid: &'a str,
    pub(super) spec: &'a MediaPoolSpec,
}

impl Maker<'_> {
    pub(super) fn mode(&self) -> ExposureMode {
        self.spec.exposure.mode
    }

    fn labels(&self) -> BTreeMap<String, String> {
        labels(&[
            (names::APP_NAME, names::MEDIA_NODE),
            (names::APP_INSTANCE, self.pool),
            (names::MANAGED_BY, names::OPERATOR),
            (names::POOL, self.pool),
        ])
    }

    fn metadata(&self, name: String, owners: &[OwnerReference]) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels()),
            owner_references: Some(owners.to_vec()),
            ..ObjectMeta::default()
        }
    }

    /// Selects the pool's pods.
    fn pods(&self) -> BTreeMap<String, String> {
        labels(&[(names::POOL, self.pool), (names::ROLE, names::MEDIA)])
    }

    pub(super) fn pool_as_owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: trunkline_crds::API_VERSION.into(),
            kind: "MediaPool".into(),
            name: self.pool.to_owned(),
            uid: self.pool_uid.to_owned(),
            controller: None,
            block_owner_deletion: None,
        }
    }
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

/// The pod of this name and uid as one of several owners.
pub(super) fn pod_as_owner(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: None,
        block_owner_deletion: None,
    }
}

pub(super) fn config_secret(
    make: &Maker<'_>,
    owners: &[OwnerReference],
    rendered: &Rendered,
) -> Object {
    let mut metadata = make.metadata(names::config_secret(make.pool), owners);
    metadata.annotations = Some(labels(&[(names::CONFIG_HASH, &rendered.hash)]));
    Object::Secret(Secret {
        metadata,
        type_: Some("Opaque".into()),
        data: Some(rendered.files.clone()),
        ..Secret::default()
    })
}

/// The pods' identity, which may do nothing.
pub(super) fn service_account(make: &Maker<'_>, owners: &[OwnerReference]) -> Object {
    Object::ServiceAccount(ServiceAccount {
        metadata: make.metadata(names::media(make.pool), owners),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

/// One pod at a time may be evicted.
pub(super) fn disruption_budget(make: &Maker<'_>, owners: &[OwnerReference]) -> Object {
    Object::PodDisruptionBudget(PodDisruptionBudget {
        metadata: make.metadata(make.pool.to_owned(), owners),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(make.pods())),
            // A pod that does not serve protects nobody.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}

/// What may come in and go out; `None` on the host network, where no policy holds.
pub(super) fn network_policy(make: &Maker<'_>, owners: &[OwnerReference]) -> Option<Object> {
    if make.mode() == ExposureMode::HostNetwork {
        return None;
    }
    let port = |protocol: &str, port: i32, end_port: Option<i32>| NetworkPolicyPort {
        protocol: Some(protocol.into()),
        port: Some(IntOrString::Int(port)),
        end_port,
    };
    let sip = &make.spec.exposure.sip;
    let range = &make.spec.exposure.media.port_range;
    let mut calls = vec![port("UDP", range.start, Some(range.end))];
    calls.extend((sip.udp > 0).then(|| port("UDP", sip.udp, None)));
    calls.extend((sip.tcp > 0).then(|| port("TCP", sip.tcp, None)));
    calls.extend((sip.tls > 0).then(|| port("TCP", sip.tls, None)));
    // The operator, kubelets, a collector of metrics: anybody in the cluster, for a token protects it.
    let cluster = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let block = |cidr: &str, except: &str| NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: cidr.into(), except: Some(vec![except.into()]) }),
        ..NetworkPolicyPeer::default()
    };
    Some(Object::NetworkPolicy(NetworkPolicy {
        metadata: make.metadata(names::media(make.pool), owners),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(make.pods())),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { from: None, ports: Some(calls) },
                NetworkPolicyIngressRule {
                    from: Some(vec![cluster]),
                    ports: Some(vec![port("TCP", i32::from(admin_port(make.mode(), 0)), None)]),
                },
            ]),
            // Carriers and agents are anywhere; the clouds' metadata services are not among them.
            egress: Some(vec![NetworkPolicyEgressRule {
                to: Some(vec![block("0.0.0.0/0", "169.254.0.0/16"), block("::/0", "fe80::/10")]),
                ports: None,
            }]),
        }),
    }))
}

/// The object with a hash of itself, so that a field that we no longer write is noticed.
pub(super) fn sealed(mut object: Object) -> Object {
    let digest = Sha256::digest(object.to_value().to_string().as_bytes());
    let annotations = object.metadata_mut().annotations.get_or_insert_default();
    annotations.insert(names::APPLIED.into(), hex(&digest, 8));
    object
}
