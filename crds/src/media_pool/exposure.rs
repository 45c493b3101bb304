//! How carriers reach a pool: mode, ports, and the address they are told.

use super::MetadataValue;
use crate::refs::{Address, Network};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

words! {
    /// How the pods meet the outside.
    ExposureMode {
        /// Pods on the node's own network.
        HostNetwork = "HostNetwork",
        /// A load balancer for SIP, and one for each pod's media.
        LoadBalancer = "LoadBalancer",
        /// Pod addresses are reachable as they are.
        PodNetwork = "PodNetwork",
    }
}

/// How carriers reach the pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.sip.udp == 0 || self.sip.udp < self.media.portRange.start || self.sip.udp > self.media.portRange.end")
        .message("SIP and audio cannot share a UDP port: choose a port outside media.portRange, or 0 to turn UDP off")
        .field_path(".sip.udp")
)]
pub struct Exposure {
    /// HostNetwork (default): on the node's addresses; works with every carrier, needs a namespace
    /// that allows it. LoadBalancer: one balancer for SIP, one for each pod's audio. PodNetwork:
    /// pod addresses that the carrier can reach. Cannot be changed: make a new pool and move the
    /// trunks.
    #[serde(default = "host_network")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("mode cannot be changed: make a new MediaPool with the other mode and point the trunks at it"))]
    pub mode: ExposureMode,

    /// SIP ports.
    #[serde(default)]
    pub sip: SipPorts,

    /// Audio ports.
    #[serde(default)]
    pub media: MediaPorts,

    /// The address that carriers are told.
    #[serde(default)]
    pub address: PoolAddress,

    /// The Services made in mode LoadBalancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceOptions>,
}

fn host_network() -> ExposureMode {
    ExposureMode::HostNetwork
}

impl Default for Exposure {
    fn default() -> Self {
        Self {
            mode: host_network(),
            sip: SipPorts::default(),
            media: MediaPorts::default(),
            address: PoolAddress::default(),
            service: None,
        }
    }
}

/// SIP ports; 0 turns one off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.udp != 0 || self.tcp != 0 || self.tls != 0")
        .message("with every port off no call can come in: write a port for udp, tcp or tls"),
    validation = Rule::new("self.tls == 0 || self.tls != self.tcp")
        .message("TCP and TLS cannot share a port: write another one, or 0 to turn one of them off")
        .field_path(".tls")
)]
pub struct SipPorts {
    /// Port for SIP over UDP: default 5060; 0 turns it off.
    #[serde(default = "sip")]
    #[schemars(range(min = 0, max = 65535))]
    pub udp: i32,

    /// Port for SIP over TCP: default 5060; 0 turns it off.
    #[serde(default = "sip")]
    #[schemars(range(min = 0, max = 65535))]
    pub tcp: i32,

    /// Port for SIP over TLS: default 5061; 0 turns it off.
    #[serde(default = "sips")]
    #[schemars(range(min = 0, max = 65535))]
    pub tls: i32,
}

fn sip() -> i32 {
    5060
}

fn sips() -> i32 {
    5061
}

impl Default for SipPorts {
    fn default() -> Self {
        Self { udp: sip(), tcp: sip(), tls: sips() }
    }
}

/// Audio ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.portsPerPod <= self.portRange.end - self.portRange.start + 1")
        .message("portRange holds fewer ports than one pod takes: widen portRange or lower portsPerPod")
        .field_path(".portsPerPod")
)]
pub struct MediaPorts {
    /// UDP ports for audio, of the whole pool. Default 20000 to 29999.
    #[serde(default)]
    pub port_range: PortRange,

    /// UDP ports of one pod, a block of portRange each. Default 1000 (ten pods in the default
    /// range). A call takes two while two are free; beyond that calls share ports, and a pod can do
    /// with 1.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 65535))]
    pub ports_per_pod: i32,
}

fn thousand() -> i32 {
    1000
}

impl Default for MediaPorts {
    fn default() -> Self {
        Self { port_range: PortRange::default(), ports_per_pod: thousand() }
    }
}

/// A range of UDP ports, both ends included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.start <= self.end")
        .message("the range ends before it starts: write an end that is not below start")
        .field_path(".end")
)]
pub struct PortRange {
    /// The first port. Default 20000.
    #[serde(default = "range_start")]
    #[schemars(range(min = 1024, max = 65535))]
    pub start: i32,

    /// The last port. Default 29999.
    #[serde(default = "range_end")]
    #[schemars(range(min = 1024, max = 65535))]
    pub end: i32,
}

fn range_start() -> i32 {
    20000
}

fn range_end() -> i32 {
    29999
}

impl Default for PortRange {
    fn default() -> Self {
        Self { start: range_start(), end: range_end() }
    }
}

words! {
    /// Where the address comes from that carriers are told.
    AddressSource {
        /// The node's external address.
        NodeExternalIp = "NodeExternalIP",
        /// The node's internal address.
        NodeInternalIp = "NodeInternalIP",
        /// The pod's address.
        PodIp = "PodIP",
        /// The address of the pod's load balancer.
        LoadBalancer = "LoadBalancer",
        /// As written.
        Static = "Static",
        /// As a STUN server sees it.
        Stun = "STUN",
    }
}

words! {
    /// Where the address comes from that peers of a private network are told.
    PrivateAddressSource {
        /// The pod's address.
        PodIp = "PodIP",
        /// The node's internal address.
        NodeInternalIp = "NodeInternalIP",
        /// As written.
        Static = "Static",
    }
}

/// The address that carriers are told in SDP, Contact and Via. Never guessed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.source != 'Static' || has(self.static)")
        .message("source is Static: write static, the address that carriers are told")
        .field_path(".source"),
    validation = Rule::new("self.source == 'Static' || !has(self.static)")
        .message("an address is written, but another source is named: write source: Static, or leave out static")
        .field_path(".static"),
    validation = Rule::new("self.source != 'STUN' || has(self.stunServer)")
        .message("source is STUN: write stunServer, as stun.example.net:3478")
        .field_path(".source")
)]
pub struct PoolAddress {
    /// NodeExternalIP (default), NodeInternalIP, PodIP, LoadBalancer, Static (as written in
    /// static), or STUN (as stunServer sees us). Without a cluster: Static, or the flag
    /// --advertise.
    #[serde(default = "node_external_ip")]
    pub source: AddressSource,

    /// The addresses for source Static: one, or one IPv4 and one IPv6. At most 8.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub static_: Option<Vec<Address>>,

    /// The server for source STUN, as stun.example.net:3478.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 260))]
    pub stun_server: Option<String>,

    /// Peers in private networks are told another address. Leave it out: all are told the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<PrivateAddress>,
}

fn node_external_ip() -> AddressSource {
    AddressSource::NodeExternalIp
}

impl Default for PoolAddress {
    fn default() -> Self {
        Self { source: node_external_ip(), static_: None, stun_server: None, private: None }
    }
}

/// The address for peers in private networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.source != 'Static' || has(self.static)")
        .message("source is Static: write static, the address that these peers are told")
        .field_path(".source"),
    validation = Rule::new("self.source == 'Static' || !has(self.static)")
        .message("an address is written, but another source is named: write source: Static, or leave out static")
        .field_path(".static")
)]
pub struct PrivateAddress {
    /// Peers in these networks are meant, as 10.0.0.0/8. At most 64.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub networks: Vec<Network>,

    /// PodIP (default), NodeInternalIP, or Static (as written in static).
    #[serde(default = "pod_ip")]
    pub source: PrivateAddressSource,

    /// The addresses for source Static. At most 8.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub static_: Option<Vec<Address>>,
}

fn pod_ip() -> PrivateAddressSource {
    PrivateAddressSource::PodIp
}

/// What the Services of mode LoadBalancer look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOptions {
    /// Annotations for the Services, as the cloud wants them. At most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, MetadataValue>,

    /// spec.loadBalancerClass of the Services. Default: the cluster's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 316))]
    pub load_balancer_class: Option<String>,
}
