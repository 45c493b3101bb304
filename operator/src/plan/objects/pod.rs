//! One media pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EnvVar,
    EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector, Pod, PodAffinityTerm,
    PodAntiAffinity, PodSecurityContext, PodSpec, Probe, ResourceRequirements, SeccompProfile,
    SecretVolumeSource, SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use trunkline_crds::media_pool::{Amount, ExposureMode, SpreadBy};

use super::{Maker, labels, selector};
use crate::names;
use crate::plan::config::hex;
use crate::plan::placement::Wish;

const MANIFESTS_DIR: &str = "/etc/trunkline/manifests";
const POD_INFO_DIR: &str = "/etc/trunkline/pod-info";
/// The admin port on the pod's own network, and on the host network that of slot 0.
const ADMIN_PORT: u16 = 8080;
const HOST_ADMIN_PORT: u16 = 18080;
/// A kubelet that is out of touch does not end calls; we replace capacity long before.
const NODE_TROUBLE_SECONDS: i64 = 3600;
/// Beyond the drain: time to end what is left and to say so.
const GRACE_BEYOND_DRAIN_SECONDS: i64 = 30;

/// What one pod has for itself.
#[derive(Clone, Debug)]
pub(in crate::plan) struct PodPlace {
    pub(in crate::plan) slot: u16,
    /// Media ports, both ends included.
    pub(in crate::plan) ports: (u16, u16),
}

/// Where the admin API of a slot listens: on the host network each slot has a port of its own, for
/// pods of one pool may share a node.
pub(in crate::plan) fn admin_port(mode: ExposureMode, slot: u16) -> u16 {
    match mode {
        ExposureMode::HostNetwork => HOST_ADMIN_PORT.saturating_add(slot),
        ExposureMode::LoadBalancer | ExposureMode::PodNetwork => ADMIN_PORT,
    }
}

/// The pod, of `revision` and told to have the configuration of `config_hash`.
pub(in crate::plan) fn pod(
    make: &Maker<'_>,
    place: &PodPlace,
    wish: &Wish,
    revision: &str,
    config_hash: &str,
) -> Pod {
    let slot = place.slot.to_string();
    let mut all_labels = make.labels();
    all_labels.extend(labels(&[
        (names::ROLE, names::MEDIA),
        (names::REVISION, revision),
        (names::SLOT, &slot),
        (names::EXPOSURE, make.mode().as_str()),
        ("sidecar.istio.io/inject", "false"),
    ]));
    let (first, last) = place.ports;
    let annotations = labels(&[
        (names::SLOT, &slot),
        (names::CONFIG_HASH, config_hash),
        (names::MEDIA_PORTS, &format!("{first}-{last}")),
        (names::ADMIN_PORT, &admin_port(make.mode(), place.slot).to_string()),
        (names::SAFE_TO_EVICT, "false"),
        (names::DO_NOT_DISRUPT, "true"),
        ("sidecar.istio.io/inject", "false"),
        ("linkerd.io/inject", "disabled"),
    ]);
    Pod {
        metadata: ObjectMeta {
            name: Some(names::pod(make.pool, place.slot)),
            namespace: Some(make.namespace.to_owned()),
            labels: Some(all_labels),
            annotations: Some(annotations),
            owner_references: Some(vec![OwnerReference {
                controller: Some(true),
                ..make.pool_as_owner()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(pod_spec(make, place.slot, wish)),
        status: None,
    }
}

/// Changes when a pod that runs can no longer become what it should be: image, ports, resources,
/// placement as written. Not when agents move, for a pod is never moved for its distance.
pub(in crate::plan) fn revision(make: &Maker<'_>) -> String {
    let mut template = pod_spec(make, 0, &Wish::default());
    template.affinity = None;
    let exposure = &make.spec.exposure;
    let whole = json!({
        "spec": template,
        "placement": make.spec.placement,
        // Read once, when a node starts.
        "sip": exposure.sip,
        "media": exposure.media,
        "telemetry": make.spec.telemetry,
        "callsPerPod": make.spec.calls_per_pod,
    });
    hex(&Sha256::digest(whole.to_string().as_bytes()), 5)
}

fn pod_spec(make: &Maker<'_>, slot: u16, wish: &Wish) -> PodSpec {
    let spec = make.spec;
    let host = make.mode() == ExposureMode::HostNetwork;
    let priority = spec.priority_class_name.clone().filter(|it| !it.is_empty());
    let pull_secrets = make.settings.image_pull_secrets.iter();
    let user = make.settings.user_id;
    PodSpec {
        service_account_name: Some(names::media(make.pool)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        host_network: host.then_some(true),
        dns_policy: host.then(|| "ClusterFirstWithHostNet".into()),
        share_process_namespace: Some(false),
        restart_policy: Some("Always".into()),
        termination_grace_period_seconds: Some(
            i64::from(spec.drain.timeout_seconds) + GRACE_BEYOND_DRAIN_SECONDS,
        ),
        priority_class_name: priority,
        image_pull_secrets: (!make.settings.image_pull_secrets.is_empty()).then(|| {
            pull_secrets.map(|name| LocalObjectReference { name: name.clone() }).collect()
        }),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(user),
            run_as_group: Some(user),
            // The mounted configuration is for this user alone.
            fs_group: Some(user),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        affinity: Some(Affinity {
            node_affinity: wish.node_affinity(),
            pod_anti_affinity: host.then(|| apart_from_other_pools(make)),
            pod_affinity: None,
        }),
        node_selector: (!spec.placement.node_selector.is_empty()).then(|| {
            let all = spec.placement.node_selector.iter();
            all.map(|(key, value)| (key.clone(), value.0.clone())).collect()
        }),
        tolerations: Some(tolerations(make)),
        topology_spread_constraints: spread(make).map(|it| vec![it]),
        containers: vec![container(make, slot)],
        volumes: Some(vec![
            // A directory, never single files, for those are not refreshed.
            Volume {
                name: "manifests".into(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(names::config_secret(make.pool)),
                    default_mode: Some(0o440),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: "pod-info".into(),
                downward_api: Some(DownwardAPIVolumeSource {
                    default_mode: Some(0o444),
                    items: Some(vec![
                        field_file("annotations", "metadata.annotations"),
                        field_file("labels", "metadata.labels"),
                    ]),
                }),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    }
}

fn container(make: &Maker<'_>, slot: u16) -> Container {
    let port = admin_port(make.mode(), slot);
    let host = make.mode() == ExposureMode::HostNetwork;
    // On a node's network the admin API shows itself only on the node's inner address.
    // In brackets, for one of IPv6 wants them, and the node takes them around any.
    let listen = if host { "[$(HOST_IP)]" } else { "0.0.0.0" };
    let mut args = vec![
        "run".to_owned(),
        format!("--manifests={MANIFESTS_DIR}"),
        format!("--pod-info={POD_INFO_DIR}"),
        format!("--slot={slot}"),
        format!("--admin={listen}:{port}"),
    ];
    // A flag wins over the pool, so it is given only when the pool says nothing.
    if make.spec.telemetry.as_ref().is_none_or(|it| it.log_format.is_none()) {
        args.push("--log-format=json".to_owned());
    }
    let probe = |path: &str| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::Int(i32::from(port)),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(2),
        ..Probe::default()
    };
    Container {
        name: "media-node".into(),
        image: Some(make.settings.image.clone()),
        image_pull_policy: make.settings.image_pull_policy.clone(),
        args: Some(args),
        env: host.then(|| vec![field_env("HOST_IP", "status.hostIP")]),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&make.spec.resources.requests)),
            limits: Some(quantities(&make.spec.resources.limits)),
            claims: None,
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
            ..SecurityContext::default()
        }),
        // A minute to start, asked every second, so that a good pod is ready soon.
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            failure_threshold: Some(60),
            ..probe("/livez")
        }),
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            failure_threshold: Some(6),
            ..probe("/livez")
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(2),
            failure_threshold: Some(2),
            ..probe("/readyz")
        }),
        // No ports are declared: on the host network each would keep a second pod off the node.
        volume_mounts: Some(vec![
            mount("manifests", MANIFESTS_DIR),
            mount("pod-info", POD_INFO_DIR),
        ]),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        ..Container::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn field(path: &str) -> ObjectFieldSelector {
    ObjectFieldSelector { api_version: Some("v1".into()), field_path: path.into() }
}

fn field_file(name: &str, path: &str) -> DownwardAPIVolumeFile {
    DownwardAPIVolumeFile {
        path: name.into(),
        field_ref: Some(field(path)),
        ..DownwardAPIVolumeFile::default()
    }
}

fn field_env(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field(path)), ..EnvVarSource::default() }),
    }
}

fn quantities(amounts: &BTreeMap<String, Amount>) -> BTreeMap<String, Quantity> {
    amounts.iter().map(|(name, it)| (name.clone(), Quantity(it.to_string()))).collect()
}

/// Two pools on the host network of one node would take each other's SIP ports; pods of one pool share
/// them on purpose.
fn apart_from_other_pools(make: &Maker<'_>) -> PodAntiAffinity {
    let is = |key: &str, operator: &str, value: &str| LabelSelectorRequirement {
        key: key.into(),
        operator: operator.into(),
        values: Some(vec![value.into()]),
    };
    let host_network = || {
        vec![
            is(names::ROLE, "In", names::MEDIA),
            is(names::EXPOSURE, "In", ExposureMode::HostNetwork.as_str()),
        ]
    };
    let selecting = |expressions: Vec<LabelSelectorRequirement>| LabelSelector {
        match_expressions: Some(expressions),
        match_labels: None,
    };
    let here = {
        let mut expressions = host_network();
        expressions.push(is(names::POOL, "NotIn", make.pool));
        PodAffinityTerm {
            label_selector: Some(selecting(expressions)),
            topology_key: names::HOSTNAME.into(),
            ..PodAffinityTerm::default()
        }
    };
    let elsewhere = PodAffinityTerm {
        label_selector: Some(selecting(host_network())),
        namespace_selector: Some(selecting(vec![is(
            "kubernetes.io/metadata.name",
            "NotIn",
            make.namespace,
        )])),
        topology_key: names::HOSTNAME.into(),
        ..PodAffinityTerm::default()
    };
    PodAntiAffinity {
        required_during_scheduling_ignored_during_execution: Some(vec![here, elsewhere]),
        preferred_during_scheduling_ignored_during_execution: None,
    }
}

fn tolerations(make: &Maker<'_>) -> Vec<Toleration> {
    let trouble = |key: &str| Toleration {
        key: Some(key.into()),
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        toleration_seconds: Some(NODE_TROUBLE_SECONDS),
        value: None,
    };
    let written = make.spec.placement.tolerations.iter().map(|it| Toleration {
        key: it.key.clone(),
        operator: it.operator.map(|it| it.to_string()),
        value: it.value.clone(),
        effect: it.effect.map(|it| it.to_string()),
        toleration_seconds: it.toleration_seconds,
    });
    let ours = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(trouble);
    ours.into_iter().chain(written).collect()
}

fn spread(make: &Maker<'_>) -> Option<TopologySpreadConstraint> {
    let topology_key = match make.spec.placement.spread_by {
        SpreadBy::Zone => names::ZONE,
        SpreadBy::Node => names::HOSTNAME,
        SpreadBy::None => return None,
    };
    Some(TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(selector(make.pods())),
        ..TopologySpreadConstraint::default()
    })
}
