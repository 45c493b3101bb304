//! The configuration of a pool's pods: a Secret with one gzipped `v1` List of what a person would have
//! written in a directory, and only of what this pool's trunks need.
//!
//! The same objects give the same bytes, so an operator that starts anew writes nothing. A Secret that
//! disappeared, or lost a key, is taken from the configuration before; where there is none, whoever
//! needs it is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use trunkline_crds::media_pool::{MediaPoolSpec, Placement, Resources};
use trunkline_crds::{API_VERSION, Agent, MediaPool, SCHEMA, Trunk};

use super::references::{self, Missing, SecretUse};
use crate::names;
use crate::world::{Object, ObjectKey, ObjectKind, World};

/// The gzipped list.
pub const MANIFESTS: &str = "manifests.json.gz";
/// [`SCHEMA`] as a number in text.
pub const SCHEMA_KEY: &str = "schema";
/// The bearer token of the pods' admin API.
pub const TOKEN: &str = "token";
/// What the pods of a pool trust each other by. It never travels.
pub const KEY: &str = "key";

/// What a configuration may grow to, gzipped. An object of the API ends at 1 MiB.
pub const MAX_LEN_BYTES: usize = 900 << 10;
/// What the media node unpacks.
const MAX_UNPACKED_LEN_BYTES: u64 = 64 << 20;

/// The files of a configuration, by name.
pub type Files = BTreeMap<String, ByteString>;

/// A pool's configuration, and what it was made from.
#[derive(Clone, PartialEq)]
pub struct Rendered {
    /// Twelve hexadecimal digits, as the media node reports them.
    pub hash: String,
    pub files: Files,
    /// Set when the objects would have made more than [`MAX_LEN_BYTES`], in bytes: the files are those
    /// of the configuration before, and none if there was none.
    pub too_large: Option<usize>,
    /// Versions of all objects that went in.
    inputs: [u8; 32],
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered")
            .field("hash", &self.hash)
            .field("too_large", &self.too_large)
            .finish_non_exhaustive()
    }
}

/// Names of all Secrets that the trunks, agents and pools of a namespace refer to, whether they exist
/// or not. [`World::secrets`] need not be filled for it.
pub fn wanted_secrets(world: &World) -> BTreeSet<String> {
    let trunks = world.trunks.values().flat_map(|it| references::of_trunk(&it.spec));
    let agents = world.agents.values().flat_map(|it| references::of_agent(&it.spec));
    let pools = world.pools.values().flat_map(|it| references::of_pool(&it.spec));
    trunks.chain(agents).chain(pools).map(|it| it.name.to_owned()).collect()
}

/// The first twelve hexadecimal digits of SHA-256 over, for each file in the order of names: its name,
/// a zero byte, its length as eight bytes (big endian), its bytes. The media node hashes alike.
pub fn hash(files: &Files) -> String {
    let mut digest = Sha256::new();
    for (name, bytes) in files {
        digest.update(name.as_bytes());
        digest.update([0]);
        digest.update((bytes.0.len() as u64).to_be_bytes());
        digest.update(&bytes.0);
    }
    hex(&digest.finalize(), 6)
}

/// The first `len_bytes` of a digest in hexadecimal.
pub(super) fn hex(digest: &[u8], len_bytes: usize) -> String {
    digest.iter().take(len_bytes).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The Secrets of one pool: as they are now, else as the configuration before has them.
pub(super) struct Secrets<'a> {
    world: &'a World,
    before: BTreeMap<String, BTreeMap<String, ByteString>>,
    /// What all objects of the pool read, by Secret.
    keys: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Secrets<'a> {
    /// `uses` of everything in the pool; `files` is the configuration in force.
    pub(super) fn new(world: &'a World, uses: &[SecretUse<'a>], files: Option<&Files>) -> Self {
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for it in uses {
            keys.entry(it.name).or_default().extend(&it.keys);
        }
        let whole = |(name, keys): (&&str, &BTreeSet<&str>)| {
            let secret = world.secrets.get(*name).and_then(|it| it.data.as_ref());
            keys.iter().all(|key| secret.is_some_and(|it| it.contains_key(*key)))
        };
        // Unpacked only when somebody misses something.
        let before = match files {
            Some(files) if !keys.iter().all(whole) => secrets_of(files),
            _ => BTreeMap::new(),
        };
        Self { world, before, keys }
    }

    /// The values that the pool reads of a Secret; empty when it never was there.
    fn values(&self, name: &str) -> BTreeMap<&str, &ByteString> {
        let wanted = self.keys.get(name);
        let now = self.world.secrets.get(name).and_then(|it| it.data.as_ref());
        let has_all = |there: &BTreeMap<String, ByteString>| {
            wanted.into_iter().flatten().all(|key| there.contains_key(*key))
        };
        // Never half of each: a new password does not go with an old username.
        let before = self.before.get(name).filter(|it| has_all(it));
        let chosen = now.filter(|it| has_all(it)).or(before).or(now);
        let values = chosen.into_iter().flatten();
        let read = |key: &str| wanted.is_some_and(|it| it.contains(key));
        values.filter(|(key, _)| read(key)).map(|(key, value)| (key.as_str(), value)).collect()
    }

    /// Whether everything that `uses` name can be had, if need be from before.
    pub(super) fn suffice(&self, uses: &[SecretUse<'_>]) -> bool {
        uses.iter().all(|it| {
            let values = self.values(it.name);
            it.keys.iter().all(|key| values.contains_key(key))
        })
    }

    /// A value as text, without the line end that nobody means.
    pub(super) fn text(&self, name: &str, key: &str) -> Option<&str> {
        let value = *self.values(name).get(key)?;
        let text = std::str::from_utf8(&value.0).ok()?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Some(text.strip_suffix('\r').unwrap_or(text))
    }

    fn version(&self, name: &str, digest: &mut Sha256) {
        let secret = self.world.secrets.get(name);
        let meta = secret.map(|it| &it.metadata);
        digest.update(name.as_bytes());
        digest.update([0]);
        let words = [
            meta.and_then(|it| it.uid.as_deref()),
            meta.and_then(|it| it.resource_version.as_deref()),
        ];
        for word in words {
            digest.update(word.unwrap_or("-").as_bytes());
            digest.update([0]);
        }
    }
}

/// What `uses` name and what is not there now, whatever stands in for it.
pub(super) fn missing(world: &World, uses: &[SecretUse<'_>]) -> Vec<Missing> {
    references::missing(uses, |name| {
        let secret = world.secrets.get(name)?;
        Some(secret.data.iter().flatten().map(|(key, _)| key.clone()).collect())
    })
}

/// The Secrets within a configuration; none when it cannot be read.
fn secrets_of(files: &Files) -> BTreeMap<String, BTreeMap<String, ByteString>> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        kind: String,
        metadata: Metadata,
        #[serde(default)]
        data: BTreeMap<String, ByteString>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
    }
    let Some(packed) = files.get(MANIFESTS) else { return BTreeMap::new() };
    let mut json = zeroize::Zeroizing::new(Vec::new());
    let mut reader = GzDecoder::new(packed.0.as_slice()).take(MAX_UNPACKED_LEN_BYTES);
    if reader.read_to_end(&mut json).is_err() {
        return BTreeMap::new();
    }
    let Ok(list) = serde_json::from_slice::<List>(&json) else { return BTreeMap::new() };
    let secrets = list.items.into_iter().filter(|it| it.kind == "Secret");
    secrets.map(|it| (it.metadata.name, it.data)).collect()
}

/// What goes into a pool's configuration.
pub(super) struct Contents<'a, 's> {
    pub(super) pool: (&'a str, &'a MediaPool),
    /// Those that are accepted and whose Secrets can be had.
    pub(super) trunks: BTreeMap<&'a str, &'a Trunk>,
    pub(super) agents: BTreeMap<&'a str, &'a Agent>,
    pub(super) secrets: &'s Secrets<'a>,
    pub(super) token: &'s str,
    pub(super) key: &'s str,
}

impl Contents<'_, '_> {
    /// The configuration; `before` when nothing of it has changed, or when it has grown too large.
    pub(super) fn render(
        &self,
        before: Option<&Arc<Rendered>>,
        in_force: Option<&Files>,
    ) -> Arc<Rendered> {
        let inputs = self.inputs();
        if let Some(before) = before.filter(|it| it.inputs == inputs) {
            return Arc::clone(before);
        }
        let packed = self.pack();
        let file = |text: &str| ByteString(text.as_bytes().to_vec());
        let len = packed.len();
        let files = Files::from([
            (MANIFESTS.to_owned(), ByteString(packed)),
            (SCHEMA_KEY.to_owned(), file(&SCHEMA.to_string())),
            (TOKEN.to_owned(), file(self.token)),
            (KEY.to_owned(), file(self.key)),
        ]);
        let (files, too_large) = if len > MAX_LEN_BYTES {
            (in_force.cloned().unwrap_or_default(), Some(len))
        } else {
            (files, None)
        };
        Arc::new(Rendered { hash: hash(&files), files, too_large, inputs })
    }

    /// Versions instead of contents: a generation counts changes of `spec`, and leaves out those of
    /// status.
    fn inputs(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut object = |kind: &str, name: &str, uid: &Option<String>, generation: Option<i64>| {
            let uid = uid.as_deref().unwrap_or("-");
            digest.update(format!("{kind}/{name}/{uid}/{}\n", generation.unwrap_or(0)).as_bytes());
        };
        let (name, pool) = self.pool;
        object("MediaPool", name, &pool.metadata.uid, pool.metadata.generation);
        for (name, it) in &self.trunks {
            object("Trunk", name, &it.metadata.uid, it.metadata.generation);
        }
        for (name, it) in &self.agents {
            object("Agent", name, &it.metadata.uid, it.metadata.generation);
        }
        for name in self.secret_names() {
            self.secrets.version(name, &mut digest);
        }
        digest.update(self.token.as_bytes());
        digest.update(self.key.as_bytes());
        digest.finalize().into()
    }

    /// The Secrets of what is in, not of what was left out.
    fn secret_names(&self) -> BTreeSet<&str> {
        let trunks = self.trunks.values().flat_map(|it| references::of_trunk(&it.spec));
        let agents = self.agents.values().flat_map(|it| references::of_agent(&it.spec));
        let pool = references::of_pool(&self.pool.1.spec);
        trunks.chain(agents).chain(pool).map(|it| it.name).collect()
    }

    fn pack(&self) -> Vec<u8> {
        let gzip = GzEncoder::new(Vec::new(), Compression::default());
        let mut json = serde_json::Serializer::new(std::io::BufWriter::new(gzip));
        let written = self.write(&mut json);
        let packed = json.into_inner().into_inner().map_err(std::io::IntoInnerError::into_error);
        let mut gzip = packed.expect("memory takes all bytes");
        gzip.flush().expect("memory takes all bytes");
        written.expect("maps with text keys and no floats are always JSON");
        gzip.finish().expect("memory takes all bytes")
    }

    fn write<W: std::io::Write>(
        &self,
        json: &mut serde_json::Serializer<W>,
    ) -> serde_json::Result<()> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct List<'a> {
            api_version: &'static str,
            kind: &'static str,
            items: Items<'a>,
        }
        let list = List { api_version: "v1", kind: "List", items: Items(self) };
        list.serialize(json)
    }
}

struct Items<'a>(&'a Contents<'a, 'a>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    /// Of two trunks that claim the same the older one wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<&'a Time>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a, S> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: S,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineSecret<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    data: BTreeMap<&'a str, &'a ByteString>,
}

impl Serialize for Items<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let contents = self.0;
        let namespace = contents.secrets.world.namespace.as_str();
        let mut items = serializer.serialize_seq(None)?;
        for name in contents.secret_names() {
            let data = contents.secrets.values(name);
            let metadata = Metadata { name, namespace, creation_timestamp: None };
            let (api_version, kind) = ("v1", "Secret");
            items.serialize_element(&InlineSecret { api_version, kind, metadata, data })?;
        }
        let (name, pool) = contents.pool;
        items.serialize_element(&Manifest {
            api_version: API_VERSION,
            kind: "MediaPool",
            metadata: Metadata { name, namespace, creation_timestamp: None },
            spec: node_part(&pool.spec),
        })?;
        for (name, it) in &contents.agents {
            items.serialize_element(&Manifest {
                api_version: API_VERSION,
                kind: "Agent",
                metadata: Metadata { name, namespace, creation_timestamp: None },
                spec: &it.spec,
            })?;
        }
        for (name, it) in &contents.trunks {
            let creation_timestamp = it.metadata.creation_timestamp.as_ref();
            items.serialize_element(&Manifest {
                api_version: API_VERSION,
                kind: "Trunk",
                metadata: Metadata { name, namespace, creation_timestamp },
                spec: &it.spec,
            })?;
        }
        items.end()
    }
}

/// The spec without what is the operator's affair, so that scaling a pool tells its pods nothing new.
fn node_part(spec: &MediaPoolSpec) -> MediaPoolSpec {
    let mut exposure = spec.exposure.clone();
    exposure.service = None;
    MediaPoolSpec {
        replicas: MediaPoolSpec::default().replicas,
        autoscaling: None,
        placement: Placement::default(),
        resources: Resources::default(),
        priority_class_name: None,
        exposure,
        ..spec.clone()
    }
}

/// The files of the config Secret as it is in the cluster.
pub(super) fn in_force<'a>(world: &'a World, pool: &str) -> Option<&'a Files> {
    let key = ObjectKey { kind: ObjectKind::Secret, name: names::config_secret(pool) };
    match world.objects.get(&key).map(|it| &**it) {
        Some(Object::Secret(secret)) => {
            secret.data.as_ref().filter(|it| it.contains_key(MANIFESTS))
        }
        _ => None,
    }
}
