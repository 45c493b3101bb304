//! How objects name each other (always in their own namespace), and the texts that several
//! kinds share.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

text! {
    /// The name of another object: lower-case letters, digits, `-` and `.`.
    ObjectName(min 1, max 253) {
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')":
            "write the name of an object: lower-case letters, digits, - and ., beginning and ending with a letter or digit",
    }
}

text! {
    /// A key inside a Secret or ConfigMap.
    DataKey(min 1, max 253) {
        "self.matches('^[-._a-zA-Z0-9]+$')": "write a key as a Secret has it: letters, digits, -, _ and .",
    }
}

text! {
    /// A network, as in `203.0.113.0/24` or `2001:db8:50::/48`.
    Network(min 1, max 49) {
        "isCIDR(self)": "write a network with its prefix length, as 203.0.113.0/24 or 2001:db8:50::/48; one address is /32 or /128",
    }
}

text! {
    /// An IPv4 or IPv6 address.
    Address(min 1, max 45) {
        "isIP(self)": "write an IPv4 or IPv6 address, as 192.0.2.10 or 2001:db8::10",
    }
}

/// Names an object of a known kind in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its name; the namespace is always the one of this object.
    pub name: ObjectName,
}

impl ObjectRef {
    /// A reference to the object of this name.
    pub fn to(name: &str) -> Self {
        Self { name: name.into() }
    }
}

/// Names one key of a Secret (or ConfigMap, where the field says so) in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the object; the namespace is always the one of this object.
    pub name: ObjectName,
    /// The key inside it.
    pub key: DataKey,
}

/// Names a certificate authority: one key of a Secret in the same namespace, with one or more
/// certificates in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// Name of the Secret; the namespace is always the one of this object.
    pub name: ObjectName,
    /// The key that holds the certificates in PEM. Default ca.crt.
    #[serde(default = "ca_crt")]
    pub key: DataKey,
}

fn ca_crt() -> DataKey {
    "ca.crt".into()
}
