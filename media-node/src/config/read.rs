//! A directory into bytes. The only place of this module that reads the file system.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The operator's rendered list of objects, compressed.
pub const RENDERED: &str = "manifests.json.gz";
/// The schema the rendered list was written for: a number.
pub const SCHEMA: &str = "schema";
/// The bearer token of the admin API.
pub const TOKEN: &str = "token";
/// The secret that the nodes of a pool share.
pub const KEY: &str = "key";

/// More files than this are a mistake (someone pointed at `/`).
pub const MAX_FILES: usize = 4096;
/// All files together, in bytes.
pub const MAX_TOTAL_LEN_BYTES: u64 = 64 << 20;

/// The names and bytes of a directory's files, by name. Wiped when dropped: they may hold passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Files {
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|bytes| bytes.as_slice())
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// Whether this is the Secret an operator rendered.
    pub fn rendered(&self) -> bool {
        self.0.contains_key(RENDERED)
    }

    /// The first twelve hexadecimal digits of SHA-256 over, for each file in the order of names:
    /// its name, a zero byte, its length as eight bytes (big endian), its bytes. For a rendered
    /// Secret that is the same as over the Secret's `data`.
    pub fn hash(&self) -> String {
        let mut digest = Sha256::new();
        for (name, bytes) in self.iter() {
            digest.update(name.as_bytes());
            digest.update([0]);
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        }
        digest.finalize().iter().take(6).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl FromIterator<(String, Vec<u8>)> for Files {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(files: I) -> Self {
        Self(files.into_iter().map(|(name, bytes)| (name, Zeroizing::new(bytes))).collect())
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Which files of a directory count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `*.yaml`, `*.yml`, `*.json`, and the operator's `manifests.json.gz`, `schema`, `token` and
    /// `key`.
    Manifests,
    /// The downward API's `annotations` and `labels`.
    PodInfo,
}

impl What {
    fn counts(self, name: &str) -> bool {
        match self {
            Self::PodInfo => matches!(name, "annotations" | "labels"),
            // Hidden files are editors' and Kubernetes' own (`..data`, `.trunk.yaml.swp`).
            Self::Manifests => {
                let extension = Path::new(name).extension().and_then(|it| it.to_str());
                !name.starts_with('.')
                    && (matches!(name, RENDERED | SCHEMA | TOKEN | KEY)
                        || matches!(extension, Some("yaml" | "yml" | "json")))
            }
        }
    }
}

/// Reads what counts in `directory`. Subdirectories are not entered.
///
/// A mounted Secret or ConfigMap is a set of links into `..data`, itself a link that Kubernetes
/// swaps: it is followed once, so that all files come from the same version.
pub fn directory(directory: &Path, what: What) -> io::Result<Files> {
    let mut last = None;
    // A swap may remove the version being read; the next one is complete.
    for _ in 0..5 {
        match read_once(&current_version(directory), what) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => last = Some(error),
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// The directory that `..data` leads to, or `directory` itself.
pub(super) fn current_version(directory: &Path) -> PathBuf {
    match std::fs::read_link(directory.join("..data")) {
        Ok(version) => directory.join(version),
        Err(_) => directory.to_owned(),
    }
}

/// The files of `directory` that count: name, path, metadata (of what a link leads to).
pub(super) fn list(
    directory: &Path,
    what: What,
) -> io::Result<BTreeMap<String, (PathBuf, std::fs::Metadata)>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !what.counts(&name) {
            continue;
        }
        let path = entry.path();
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            // Gone since it was listed, or a link that leads nowhere (some editors' lock files).
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(named(&path, error)),
        };
        if metadata.is_file() {
            found.insert(name, (path, metadata));
        }
        if found.len() > MAX_FILES {
            return Err(io::Error::other(format!(
                "{} holds more than {MAX_FILES} manifests; is it the right directory?",
                directory.display()
            )));
        }
    }
    Ok(found)
}

fn read_once(directory: &Path, what: What) -> io::Result<Files> {
    let mut files = BTreeMap::new();
    let mut left = MAX_TOTAL_LEN_BYTES;
    for (name, (path, _)) in list(directory, what).map_err(|error| named(directory, error))? {
        let mut bytes = Zeroizing::new(Vec::new());
        let file = std::fs::File::open(&path).map_err(|error| named(&path, error))?;
        let len = file.take(left + 1).read_to_end(&mut bytes).map_err(|e| named(&path, e))?;
        left = left.checked_sub(len as u64).ok_or_else(|| {
            let limit = MAX_TOTAL_LEN_BYTES >> 20;
            io::Error::other(format!("{} holds more than {limit} MiB", directory.display()))
        })?;
        files.insert(name, bytes);
    }
    Ok(Files(files))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_count_and_hidden_files_never() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "d.txt", ".e.yaml", "f.yaml~", ".f.yaml.swp"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        std::fs::create_dir(dir.path().join("sub.yaml")).unwrap();
        let files = directory(dir.path(), What::Manifests).unwrap();
        assert_eq!(
            files.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["a.yml", "b.yaml", "c.json"]
        );
        assert!(!files.rendered());
        assert_eq!(format!("{files:?}"), r#"{"a.yml", "b.yaml", "c.json"}"#);
    }

    #[test]
    fn the_hash_tells_names_from_bytes() {
        let hash = |files: &[(&str, &str)]| {
            files
                .iter()
                .map(|(n, b)| ((*n).to_owned(), b.as_bytes().to_vec()))
                .collect::<Files>()
                .hash()
        };
        assert_eq!(hash(&[]).len(), 12);
        assert_ne!(hash(&[("a", "bc")]), hash(&[("ab", "c")]));
        assert_ne!(hash(&[("a", ""), ("b", "")]), hash(&[("a", "b")]));
        assert_eq!(hash(&[("a", "1"), ("b", "2")]), hash(&[("b", "2"), ("a", "1")]));
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = directory(Path::new("/nowhere/at/all"), What::Manifests).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
