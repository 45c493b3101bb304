//! Values of Secrets. Only metadata is watched; a value is read when something refers to it, kept as
//! long as that Secret does not change, and wiped when it is no longer needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use zeroize::Zeroize;

/// Requests at once, when thousands of trunks with a Secret each arrive together. Each is asked for by its
/// name: a list would be fewer requests, and would bring values that nobody has referred to.
const CONCURRENT_READS: usize = 64;

/// The values that are needed now.
pub struct Secrets {
    client: Client,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By namespace, then by name.
    values: BTreeMap<String, BTreeMap<String, Arc<Secret>>>,
    /// No longer needed, but perhaps still read by a pass under way.
    old: Vec<Arc<Secret>>,
    /// What each namespace refers to, whether it exists or not.
    wanted: BTreeMap<String, BTreeSet<String>>,
}

/// A Secret that something refers to could not be read.
#[derive(Debug, thiserror::Error)]
#[error("Secret {name} cannot be read: {}", crate::client::in_words(.source))]
pub struct Unreadable {
    name: String,
    source: kube::Error,
}

impl Secrets {
    pub fn new(client: Client) -> Self {
        Self { client, kept: Mutex::default() }
    }

    /// Whether a change of this Secret is of interest.
    pub fn is_wanted(&self, namespace: &str, name: &str) -> bool {
        self.lock().wanted.get(namespace).is_some_and(|names| names.contains(name))
    }

    /// The `wanted` ones that exist. `versions` are the resourceVersions of those that the watch saw.
    pub async fn read(
        &self,
        namespace: &str,
        wanted: BTreeSet<String>,
        versions: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Arc<Secret>>, Unreadable> {
        let mut values = BTreeMap::new();
        let mut missing = Vec::new();
        {
            let mut kept = self.lock();
            let known = kept.values.get(namespace);
            for name in &wanted {
                let Some(version) = versions.get(name) else { continue };
                let known = known.and_then(|known| known.get(name));
                match known.filter(|it| it.metadata.resource_version.as_ref() == Some(version)) {
                    Some(value) => {
                        values.insert(name.clone(), value.clone());
                    }
                    None => missing.push(name.clone()),
                }
            }
            // Before anything is read, so that a change meanwhile is not missed.
            kept.wanted.insert(namespace.to_owned(), wanted);
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let read: Vec<(String, Option<Secret>)> = stream::iter(missing)
            .map(|name| {
                let secrets = secrets.clone();
                async move {
                    match secrets.get_opt(&name).await {
                        Ok(secret) => Ok((name, secret)),
                        Err(source) => Err(Unreadable { name, source }),
                    }
                }
            })
            .buffer_unordered(CONCURRENT_READS)
            .try_collect()
            .await?;
        for (name, secret) in read {
            let Some(mut secret) = secret else { continue };
            // They may repeat the values (kubectl's last-applied-configuration).
            secret.metadata.annotations = None;
            secret.metadata.managed_fields = None;
            values.insert(name, Arc::new(secret));
        }
        self.keep(namespace, values.clone());
        Ok(values)
    }

    fn keep(&self, namespace: &str, values: BTreeMap<String, Arc<Secret>>) {
        let mut kept = self.lock();
        let before = kept.values.insert(namespace.to_owned(), values).unwrap_or_default();
        kept.old.extend(before.into_values());
        // What is in use again, or still, is not the last of its kind and stays.
        kept.old.retain_mut(|secret| match Arc::get_mut(secret) {
            Some(secret) => {
                wipe(secret);
                false
            }
            None => true,
        });
        let Kept { values, old, .. } = &mut *kept;
        let in_use = values.get(namespace);
        old.retain(|secret| {
            let name = secret.metadata.name.as_deref().unwrap_or_default();
            let current = in_use.and_then(|values| values.get(name));
            !current.is_some_and(|current| Arc::ptr_eq(current, secret))
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(|data| data.values_mut()) {
        value.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use tower_test::mock;

    fn versions(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn only_what_is_referred_to_is_read_and_only_once_a_version() {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let secrets = Secrets::new(Client::new(service, "voice"));
        let server = tokio::spawn(async move {
            let mut asked = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
                let version = asked.len() + 1;
                let body = format!(
                    r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{name}","resourceVersion":"{version}","annotations":{{"kubectl.kubernetes.io/last-applied-configuration":"hunter2"}}}},"data":{{"password":"aHVudGVyMg=="}}}}"#
                );
                asked.push(name);
                send.send_response(Response::new(Body::from(body.into_bytes())));
            }
            asked
        });
        let seen = versions(&[("a", "1"), ("unrelated", "7")]);
        let first = secrets.read("voice", names(&["a", "missing"]), &seen).await.unwrap();
        assert_eq!(first.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(first["a"].metadata.annotations, None);
        let again = secrets.read("voice", names(&["a", "missing"]), &seen).await.unwrap();
        assert!(Arc::ptr_eq(&first["a"], &again["a"]));
        assert!(secrets.is_wanted("voice", "missing") && !secrets.is_wanted("voice", "unrelated"));
        // A new version is read again, and the old value is wiped once nobody holds it.
        drop((first, again));
        let third = secrets.read("voice", names(&["a"]), &versions(&[("a", "2")])).await.unwrap();
        assert_eq!(third["a"].metadata.resource_version.as_deref(), Some("2"));
        assert!(secrets.lock().old.is_empty());
        drop(secrets);
        assert_eq!(server.await.unwrap(), ["a", "a"]);
    }

    #[test]
    fn a_value_is_wiped() {
        let data = [("password".to_owned(), k8s_openapi::ByteString(b"hunter2".to_vec()))].into();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        wipe(&mut secret);
        assert!(secret.data.unwrap()["password"].0.is_empty());
    }
}
