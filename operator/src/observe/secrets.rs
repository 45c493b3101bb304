//! Values of Secrets. Only metadata is watched; a value is read when something refers to it, kept as
//! long as that Secret does not change, and wiped when it is no longer needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use zeroize::Zeroize;

/// Requests at once, when many trunks with a Secret each arrive together.
const CONCURRENT_READS: usize = 16;
/// More than this many are listed, for with thousands of trunks it is thousands of requests.
const MAX_READS: usize = 100;
/// Secrets a page of that list: those of others, which are dropped at once, may be large.
const PAGE: u32 = 250;

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

/// Something that is referred to could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be read: {}", crate::client::in_words(.source))]
pub struct Unreadable {
    what: String,
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
        let mut missing = BTreeSet::new();
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
                    None => drop(missing.insert(name.clone())),
                }
            }
            // Before anything is read, so that a change meanwhile is not missed.
            kept.wanted.insert(namespace.to_owned(), wanted);
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let read = match missing.len() {
            0..=MAX_READS => one_by_one(&secrets, missing).await?,
            _ => listed(&secrets, &missing).await?,
        };
        for mut secret in read {
            // They may repeat the values (kubectl's last-applied-configuration).
            secret.metadata.annotations = None;
            secret.metadata.managed_fields = None;
            values.insert(secret.name_any(), Arc::new(secret));
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

async fn one_by_one(
    secrets: &Api<Secret>,
    names: BTreeSet<String>,
) -> Result<Vec<Secret>, Unreadable> {
    let read = stream::iter(names).map(|name| async move {
        let secret = secrets.get_opt(&name).await;
        secret.map_err(|source| Unreadable { what: format!("Secret {name}"), source })
    });
    let read: Vec<Option<Secret>> = read.buffer_unordered(CONCURRENT_READS).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// Those of the namespace's Secrets that are among `names`.
async fn listed(
    secrets: &Api<Secret>,
    names: &BTreeSet<String>,
) -> Result<Vec<Secret>, Unreadable> {
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = secrets.list(&params).await;
        let page = page.map_err(|source| Unreadable { what: "Secrets".to_owned(), source })?;
        for mut secret in page.items {
            match names.contains(&secret.name_any()) {
                true => found.push(secret),
                false => wipe(&mut secret),
            }
        }
        match page.metadata.continue_.filter(|it| !it.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
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

    #[tokio::test]
    async fn thousands_are_listed_page_by_page() {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let secrets = Secrets::new(Client::new(service, "voice"));
        let server = tokio::spawn(async move {
            let mut asked = 0;
            while let Some((request, send)) = handle.next_request().await {
                let query = request.uri().query().unwrap_or_default().to_owned();
                assert!(request.uri().path().ends_with("/secrets"), "{}", request.uri());
                assert_eq!(query.contains("continue=more"), asked == 1, "{query}");
                let (name, next) = [("0007", "more"), ("0008", "")][asked];
                let list = serde_json::json!({
                    "apiVersion": "v1", "kind": "SecretList", "metadata": {"continue": next},
                    "items": [
                        {"metadata": {"name": name, "resourceVersion": "1"}},
                        {"metadata": {"name": format!("of-others-{name}")}},
                    ],
                });
                asked += 1;
                send.send_response(Response::new(Body::from(list.to_string().into_bytes())));
            }
            asked
        });
        let wanted: BTreeSet<String> = (0..1000).map(|n| format!("{n:04}")).collect();
        let seen = wanted.iter().map(|name| (name.clone(), "1".to_owned())).collect();
        let read = secrets.read("voice", wanted, &seen).await.unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["0007", "0008"], "the rest is gone by now");
        drop(secrets);
        assert_eq!(server.await.unwrap(), 2);
    }

    #[test]
    fn a_value_is_wiped() {
        let data = [("password".to_owned(), k8s_openapi::ByteString(b"hunter2".to_vec()))].into();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        wipe(&mut secret);
        assert!(secret.data.unwrap()["password"].0.is_empty());
    }
}
