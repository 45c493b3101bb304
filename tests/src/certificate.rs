//! A certificate authority and a server certificate of its own, for one run.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// PEM texts; `ca_file` holds the authority for peers that read files.
pub struct Certificate {
    pub ca: String,
    pub certificate: String,
    pub key: String,
    pub ca_file: PathBuf,
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

impl Certificate {
    /// Makes an authority and a certificate for `localhost` and 127.0.0.1, and writes them to `directory`.
    pub fn make(directory: &Path) -> Self {
        Self::make_for(directory, &[])
    }

    /// The same, for these addresses too.
    pub fn make_for(directory: &Path, addresses: &[IpAddr]) -> Self {
        let ca_key = KeyPair::generate().expect("a key can be made");
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "Trunkline test authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_certificate = ca.self_signed(&ca_key).expect("parameters are complete");
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate().expect("a key can be made");
        let mut server =
            CertificateParams::new(vec!["localhost".to_owned()]).expect("a plain name");
        server.distinguished_name.push(DnType::CommonName, "localhost");
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let addresses = addresses.iter().copied().chain([loopback]);
        server.subject_alt_names.extend(addresses.map(SanType::IpAddress));
        server.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = server.signed_by(&key, &issuer).expect("parameters are complete");

        let made = Self {
            ca: ca_certificate.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            ca_file: directory.join("ca.pem"),
            certificate_file: directory.join("certificate.pem"),
            key_file: directory.join("key.pem"),
        };
        fs::create_dir_all(directory).expect("the run's directory can be made");
        for (file, text) in [
            (&made.ca_file, &made.ca),
            (&made.certificate_file, &made.certificate),
            (&made.key_file, &made.key),
        ] {
            fs::write(file, text).expect("the run's directory is writable");
        }
        made
    }
}
