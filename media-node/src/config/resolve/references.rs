//! Secrets by name and key, always in the namespace of the object that names them.

use std::collections::BTreeMap;

use rustls::pki_types::{CertificateDer, UnixTime};

use super::Fault;
use crate::config::documents::{Body, Key, Object};
use crate::config::{Secret, TlsIdentity, tls};

/// The Secrets and ConfigMaps of one load.
pub(super) struct References<'a>(BTreeMap<&'a Key, &'a Object>);

impl<'a> References<'a> {
    pub(super) fn new(objects: impl Iterator<Item = &'a Object>) -> Self {
        let wanted = |object: &&Object| matches!(object.body, Body::Secret(_) | Body::ConfigMap);
        Self(objects.filter(wanted).map(|object| (&object.key, object)).collect())
    }

    /// The values of a Secret. `field` is what names it.
    pub(super) fn secret(
        &self,
        namespace: &str,
        name: &str,
        field: &str,
    ) -> Result<&'a BTreeMap<String, Secret>, Fault> {
        let key =
            |kind: &str| Key { kind: kind.into(), namespace: namespace.into(), name: name.into() };
        if let Some(Object { body: Body::Secret(values), .. }) = self.0.get(&key("Secret")) {
            return Ok(values);
        }
        let elsewhere = self.0.keys().find(|it| it.kind == "Secret" && it.name == name);
        let hint = match elsewhere {
            Some(it) => format!(
                "; there is one in namespace {}, but references never leave a namespace",
                it.namespace
            ),
            None if self.0.contains_key(&key("ConfigMap")) => {
                "; there is a ConfigMap of that name: make it a Secret".to_owned()
            }
            None => "; write it, or correct the name".to_owned(),
        };
        Err(Fault {
            field: format!("{field}.name"),
            message: format!("Secret \"{name}\" not found in namespace {namespace}{hint}"),
        })
    }

    /// One value, not empty. A line end after a password or token is never meant and is cut off.
    pub(super) fn value(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        field: &str,
    ) -> Result<Secret, Fault> {
        let values = self.secret(namespace, name, field)?;
        let fault = |message: String| Fault { field: field.to_owned(), message };
        let Some(value) = values.get(key) else {
            let there: Vec<_> = values.keys().map(String::as_str).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(fault(format!(
                "Secret \"{name}\" has no key \"{key}\"; its keys are: {there}"
            )));
        };
        let bytes = value.expose();
        let trimmed = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let trimmed = trimmed.strip_suffix(b"\r").unwrap_or(trimmed);
        if trimmed.is_empty() {
            return Err(fault(format!("key \"{key}\" of Secret \"{name}\" is empty")));
        }
        if trimmed.len() == bytes.len() {
            Ok(value.clone())
        } else {
            Ok(Secret::new(trimmed.to_vec()))
        }
    }

    /// Certificates to trust, from one key of a Secret.
    pub(super) fn authorities(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        field: &str,
    ) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let pem = self.value(namespace, name, key, field)?;
        tls::authorities(pem.expose()).map_err(|message| {
            Fault::new(field, &format!("key \"{key}\" of Secret \"{name}\": {message}"))
        })
    }

    /// Certificate and key of a `kubernetes.io/tls` Secret.
    pub(super) fn identity(
        &self,
        namespace: &str,
        name: &str,
        field: &str,
        now: UnixTime,
    ) -> Result<TlsIdentity, Fault> {
        let chain = self.value(namespace, name, "tls.crt", field)?;
        let key = self.value(namespace, name, "tls.key", field)?;
        TlsIdentity::from_pem(chain.expose(), key.expose(), now).map_err(|problem| {
            let message = format!("{} of Secret \"{name}\": {}", problem.key, problem.message);
            Fault::new(field, &message)
        })
    }

    /// As [`Self::value`], and UTF-8 without control characters: fit for a header.
    pub(super) fn line(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        field: &str,
    ) -> Result<Secret, Fault> {
        let value = self.value(namespace, name, key, field)?;
        match value.expose_text() {
            Some(text) if !text.chars().any(char::is_control) => Ok(value),
            _ => Err(Fault {
                field: field.to_owned(),
                message: format!(
                    "key \"{key}\" of Secret \"{name}\" must be one line of text without control \
                     characters"
                ),
            }),
        }
    }
}
