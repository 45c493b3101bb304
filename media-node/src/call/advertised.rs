//! The addresses that SDP, Contact and Via say.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::{PodInfo, Pool, SipPorts};
use crate::sip::Transport;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertised {
    /// Where SIP comes in: Contact and Via.
    pub sip: Vec<IpAddr>,
    /// Where audio comes in: SDP.
    pub media: Vec<IpAddr>,
    /// Said to peers within `exposure.address.private.networks`, instead of either.
    pub private: Vec<IpAddr>,
}

/// What comes in by an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub enum Traffic {
    #[serde(rename = "SIP")]
    Sip,
    Media,
}

impl Advertised {
    /// One address for everything.
    pub fn both(public: &[IpAddr]) -> Self {
        Self { sip: public.to_vec(), media: public.to_vec(), private: Vec::new() }
    }

    /// `--advertise` wins over the pod's annotations, and these over the pool's static addresses.
    pub fn of(flag: &[IpAddr], pod: &PodInfo, pool: &Pool) -> Self {
        if !flag.is_empty() {
            return Self::both(flag);
        }
        let media = if pod.addresses.is_empty() { &pool.address.fixed } else { &pod.addresses };
        let mut advertised = Self::both(media);
        // Nobody speaks SIP at the load balancer of one node's audio.
        if !pod.sip_addresses.is_empty() || pool.address.of_load_balancers {
            advertised.sip.clone_from(&pod.sip_addresses);
        }
        advertised
    }

    /// What a node lacks to take calls, in words; nothing when it has all.
    pub fn missing(&self, pool: &Pool) -> Vec<&'static str> {
        let lacks = |addresses: &[IpAddr], words| addresses.is_empty().then_some(words);
        let missing = if pool.address.of_load_balancers {
            [
                lacks(&self.sip, "the load balancer for SIP has no address yet"),
                lacks(&self.media, "the load balancer for this node's audio has no address yet"),
            ]
        } else {
            let words = "no address is advertised: set MediaPool spec.exposure.address.static, \
                         or --advertise";
            [lacks(&self.media, words), None]
        };
        missing.into_iter().flatten().collect()
    }

    /// The address of SIP to tell `peer`; `None` when there is none of its family.
    pub(super) fn sip_toward(&self, pool: &Pool, peer: IpAddr) -> Option<IpAddr> {
        pool.address.toward(peer, &self.sip, &self.private)
    }

    /// The address of audio to tell `peer`; `None` when there is none of its family.
    pub(super) fn media_toward(&self, pool: &Pool, peer: IpAddr) -> Option<IpAddr> {
        pool.address.toward(peer, &self.media, &self.private)
    }

    /// Every address once with what it carries, those of SIP first, public ones before private ones.
    pub(super) fn all(&self) -> Vec<(IpAddr, Vec<Traffic>)> {
        let mut all: Vec<(IpAddr, Vec<Traffic>)> = Vec::new();
        for (traffic, public) in [(Traffic::Sip, &self.sip), (Traffic::Media, &self.media)] {
            for address in public.iter().chain(&self.private) {
                match all.iter_mut().find(|(known, _)| known == address) {
                    Some((_, carries)) if carries.contains(&traffic) => {}
                    Some((_, carries)) => carries.push(traffic),
                    None => all.push((*address, vec![traffic])),
                }
            }
        }
        all
    }
}

/// The port where we listen on that transport.
pub(super) fn port(ports: &SipPorts, transport: Transport) -> Option<u16> {
    match transport {
        Transport::Udp => ports.udp,
        Transport::Tcp => ports.tcp,
        Transport::Tls => ports.tls,
    }
}

/// Host and port of our Via and Contact.
pub(super) fn sent_by(pool: &Pool, address: IpAddr, transport: Transport) -> String {
    match (address, port(&pool.sip, transport)) {
        (address, Some(port)) => SocketAddr::new(address, port).to_string(),
        (IpAddr::V6(address), None) => format!("[{address}]"),
        (IpAddr::V4(address), None) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::UnixTime;

    use super::*;
    use crate::config::Manifests;
    use crate::config::read::Files;

    fn pool(exposure: &str) -> Pool {
        let yaml = format!(
            "apiVersion: trunkline.dev/v1alpha1\nkind: MediaPool\nmetadata: {{name: default}}\n\
             spec: {{exposure: {exposure}}}\n"
        );
        let files = Files::from_iter([("pool.yaml".to_owned(), yaml.into_bytes())]);
        let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        let config = Manifests::default().load(&files, now);
        assert_eq!(config.rejected, []);
        (*config.pool).clone()
    }

    fn balanced() -> Pool {
        pool("{mode: LoadBalancer, address: {source: LoadBalancer}, media: {portsPerPod: 8}}")
    }

    fn told(media: &[&str], sip: &[&str]) -> PodInfo {
        let parse = |list: &[&str]| list.iter().map(|it| it.parse().unwrap()).collect();
        PodInfo { addresses: parse(media), sip_addresses: parse(sip), ..PodInfo::default() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_is_told_for_both_where_nothing_else_is_said() {
        let pool = pool("{address: {source: Static, static: [192.0.2.10]}}");
        let written = Advertised::of(&[], &PodInfo::default(), &pool);
        assert_eq!(written, Advertised::both(&[ip("192.0.2.10")]));
        let annotated = Advertised::of(&[], &told(&["192.0.2.11"], &[]), &pool);
        assert_eq!(annotated, Advertised::both(&[ip("192.0.2.11")]));
        let flag =
            Advertised::of(&[ip("192.0.2.12")], &told(&["192.0.2.11"], &["192.0.2.1"]), &pool);
        assert_eq!(flag, Advertised::both(&[ip("192.0.2.12")]));
        assert!(flag.missing(&pool).is_empty());
        assert_eq!(flag.all(), [(ip("192.0.2.12"), vec![Traffic::Sip, Traffic::Media])]);
    }

    #[test]
    fn behind_load_balancers_sip_and_audio_have_an_address_each_and_both_are_waited_for() {
        let pool = balanced();
        let of = |media: &[&str], sip: &[&str]| Advertised::of(&[], &told(media, sip), &pool);
        let missing = |media: &[&str], sip: &[&str]| of(media, sip).missing(&pool).join("; ");
        assert_eq!(
            missing(&[], &[]),
            "the load balancer for SIP has no address yet; \
             the load balancer for this node's audio has no address yet"
        );
        assert_eq!(missing(&["198.51.100.2"], &[]), "the load balancer for SIP has no address yet");
        assert_eq!(
            missing(&[], &["198.51.100.1"]),
            "the load balancer for this node's audio has no address yet"
        );

        let whole = of(&["198.51.100.2"], &["198.51.100.1"]);
        assert!(whole.missing(&pool).is_empty());
        let peer = ip("203.0.113.7");
        assert_eq!(whole.sip_toward(&pool, peer), Some(ip("198.51.100.1")));
        assert_eq!(whole.media_toward(&pool, peer), Some(ip("198.51.100.2")));
        assert_eq!(
            whole.all(),
            [(ip("198.51.100.1"), vec![Traffic::Sip]), (ip("198.51.100.2"), vec![Traffic::Media])]
        );
        let half = of(&["198.51.100.2"], &[]);
        assert_eq!(half.sip_toward(&pool, peer), None, "never the address of audio in its place");
    }
}
