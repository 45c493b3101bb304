//! Services: SIP for the pool, media for one pod.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use trunkline_crds::media_pool::ExposureMode;

use super::Maker;
use crate::names;
use crate::world::Object;

/// Where SIP comes in: behind a load balancer only TLS, for UDP would lose its flows when a pod stops
/// being ready, and mixed protocols are refused by many clouds. `None` with every port off.
pub(in crate::plan) fn sip_service(make: &Maker<'_>, owners: &[OwnerReference]) -> Option<Object> {
    let sip = &make.spec.exposure.sip;
    let mut ports = Vec::new();
    let mut port = |name: &str, protocol: &str, number: i32| {
        if number > 0 {
            ports.push(ServicePort {
                name: Some(name.into()),
                protocol: Some(protocol.into()),
                port: number,
                target_port: Some(IntOrString::Int(number)),
                ..ServicePort::default()
            });
        }
    };
    // Names of SRV records: _sips._tcp, _sip._tcp, _sip._udp.
    port("sips", "TCP", sip.tls);
    match make.mode() {
        ExposureMode::LoadBalancer => {}
        ExposureMode::HostNetwork => port("sip", "TCP", sip.tcp),
        // Without a cluster address nothing stands between, so UDP is as good as TCP.
        ExposureMode::PodNetwork => {
            port("sip", "TCP", sip.tcp);
            port("sip-udp", "UDP", sip.udp);
        }
    }
    if ports.is_empty() {
        return None;
    }
    let mut service = Service {
        metadata: make.metadata(names::sip_service(make.pool), owners),
        spec: Some(ServiceSpec {
            selector: Some(make.pods()),
            ports: Some(ports),
            ip_family_policy: Some("PreferDualStack".into()),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    match make.mode() {
        ExposureMode::LoadBalancer => balance(make, &mut service),
        ExposureMode::PodNetwork => spec(&mut service).cluster_ip = Some("None".into()),
        ExposureMode::HostNetwork => spec(&mut service).type_ = Some("ClusterIP".into()),
    }
    Some(Object::Service(service))
}

/// The media ports of one pod behind a load balancer of its own.
pub(in crate::plan) fn media_service(
    make: &Maker<'_>,
    slot: u16,
    (first, last): (u16, u16),
    pod: OwnerReference,
) -> Object {
    let mut selector = make.pods();
    selector.insert(names::SLOT.into(), slot.to_string());
    let ports = (first..=last).map(|port| ServicePort {
        name: Some(format!("rtp-{port}")),
        protocol: Some("UDP".into()),
        port: i32::from(port),
        target_port: Some(IntOrString::Int(i32::from(port))),
        ..ServicePort::default()
    });
    let mut service = Service {
        metadata: make.metadata(names::pod(make.pool, slot), &[pod]),
        spec: Some(ServiceSpec {
            selector: Some(selector),
            ports: Some(ports.collect()),
            ip_family_policy: Some("PreferDualStack".into()),
            // A draining pod is not ready, and its calls go on.
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    balance(make, &mut service);
    Object::Service(service)
}

fn spec(service: &mut Service) -> &mut ServiceSpec {
    service.spec.get_or_insert_default()
}

fn balance(make: &Maker<'_>, service: &mut Service) {
    let options = make.spec.exposure.service.clone().unwrap_or_default();
    if !options.annotations.is_empty() {
        let annotations = options.annotations.into_iter().map(|(key, value)| (key, value.0));
        service.metadata.annotations = Some(annotations.collect());
    }
    let spec = spec(service);
    spec.type_ = Some("LoadBalancer".into());
    // Trunks are known by their source addresses, so these must arrive as they were sent.
    spec.external_traffic_policy = Some("Local".into());
    spec.load_balancer_class = options.load_balancer_class;
}
