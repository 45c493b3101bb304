//! A MediaPool as far as one node obeys it.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use trunkline_crds::media_pool::{
    AddressSource, ExposureMode, LogFormat as Format, MediaPoolSpec, PrivateAddressSource,
    RecordDigits, RecordNumbers,
};

use super::references::References;
use super::{Fault, addresses, count, networks, seconds};
use crate::config::{
    Address, LogFormat, MediaPorts, NumberPolicy, Pool, PrivateAddress, PrivateSource,
    RecordPolicy, SipPorts, Telemetry,
};

/// The pool as written, or the built-in defaults for `None`.
pub(super) fn resolve(
    namespace: &str,
    name: &str,
    spec: Option<&MediaPoolSpec>,
    references: &References<'_>,
    now: UnixTime,
) -> Result<Pool, Vec<Fault>> {
    let defaults = MediaPoolSpec::default();
    let written = spec.is_some();
    let spec = spec.unwrap_or(&defaults);
    let mut faults = Vec::new();

    let tls = spec.tls.as_ref().and_then(|tls| {
        let field = "spec.tls.certificateRef";
        references
            .identity(namespace, &tls.certificate_ref.name, field, now)
            .map_err(|fault| faults.push(fault))
            .ok()
    });
    let exposure = &spec.exposure;
    let address = &exposure.address;
    let private = address.private.as_ref().map(|private| {
        let field = "spec.exposure.address.private";
        let networks = networks(
            private.networks.iter().map(|n| &n.0),
            &format!("{field}.networks"),
            &mut faults,
        );
        let source = match private.source {
            PrivateAddressSource::PodIp => PrivateSource::PodIp,
            PrivateAddressSource::NodeInternalIp => PrivateSource::NodeInternalIp,
            PrivateAddressSource::Static => PrivateSource::Static(addresses(
                private.static_.iter().flatten().map(|a| &a.0),
                &format!("{field}.static"),
                &mut faults,
            )),
        };
        PrivateAddress { networks, source }
    });
    let fixed = addresses(
        address.static_.iter().flatten().map(|a| &a.0),
        "spec.exposure.address.static",
        &mut faults,
    );
    let port = |port: i32| u16::try_from(port).ok().filter(|port| *port > 0);
    let range = &exposure.media.port_range;
    let pool = Pool {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        written,
        behind_load_balancers: exposure.mode == ExposureMode::LoadBalancer,
        calls_per_pod: count(spec.calls_per_pod),
        sip: SipPorts {
            udp: port(exposure.sip.udp),
            tcp: port(exposure.sip.tcp),
            tls: port(exposure.sip.tls),
        },
        media: MediaPorts {
            start: port(range.start).unwrap_or(u16::MAX),
            end: port(range.end).unwrap_or(u16::MAX),
            per_pod: port(exposure.media.ports_per_pod).unwrap_or(u16::MAX),
        },
        address: Address {
            fixed,
            of_load_balancers: address.source == AddressSource::LoadBalancer,
            private,
        },
        tls: tls.map(Arc::new),
        drain_timeout: seconds(spec.drain.timeout_seconds),
        records: RecordPolicy {
            numbers: match spec.records.numbers {
                RecordNumbers::Masked => NumberPolicy::Masked,
                RecordNumbers::Full => NumberPolicy::Full,
                RecordNumbers::Hashed => NumberPolicy::Hashed,
            },
            keep_digits: spec.records.digits == RecordDigits::Keep,
        },
        telemetry: spec.telemetry.as_ref().map_or_else(Telemetry::default, |it| Telemetry {
            otlp_endpoint: it.otlp_endpoint.as_ref().map(ToString::to_string),
            log_format: it.log_format.map(|format| match format {
                Format::Json => LogFormat::Json,
                Format::Text => LogFormat::Text,
            }),
        }),
    };
    if pool.drain_timeout > Duration::from_hours(24) {
        faults.push(Fault::new("spec.drain.timeoutSeconds", "write 86400 (a day) or less"));
    }
    if faults.is_empty() { Ok(pool) } else { Err(faults) }
}
