//! When to read a directory again.
//!
//! The directory is looked at five times a second: one `readdir` and a `stat` a file, some tens of
//! microseconds. That works the same on a mounted Secret, a bind mount, a network file system and a
//! laptop, where change notices are lost on some of them or arrive for the link but not for what it
//! leads to. A change counts once two looks in a row see the same, so that a file half written is
//! not taken for a whole one; a directory that never rests is read all the same before a second
//! is over.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::read::{self, Files, What};

/// Between two looks.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// Looks after which a directory that keeps changing is read as it is.
const PATIENCE: u32 = 3;
/// After a change the bytes are read again at so many more looks: a second write of the same length
/// within the clock tick of the file system leaves no other trace.
const READ_AGAIN: u32 = 5;

/// What `stat` tells of each file, and where `..data` leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Look {
    version: PathBuf,
    files: Vec<(String, u64, Option<SystemTime>, u64)>,
    /// The directory could not be read.
    failed: Option<std::io::ErrorKind>,
}

/// Watches one directory. Drive it with [`Self::poll`] (blocking, brief) every [`INTERVAL`], or with
/// [`Self::changed`] inside tokio.
pub struct Watcher {
    directory: PathBuf,
    what: What,
    /// What the bytes last handed out were read from.
    seen: Look,
    /// What the last look saw.
    last: Look,
    unsettled: u32,
    read_again: u32,
    given: Option<Files>,
    failure: Option<String>,
}

impl Watcher {
    pub fn new(directory: impl Into<PathBuf>, what: What) -> Self {
        Self {
            directory: directory.into(),
            what,
            seen: Look::default(),
            last: Look::default(),
            unsettled: 0,
            read_again: 0,
            given: None,
            failure: None,
        }
    }

    /// Reads at once, whatever was seen before. Call it first; an error here is the user's to see.
    pub fn read(&mut self) -> std::io::Result<Files> {
        self.seen = look(&self.directory, self.what);
        self.last = self.seen.clone();
        self.unsettled = 0;
        self.read_again = READ_AGAIN;
        let files = read::directory(&self.directory, self.what)?;
        self.given = Some(files.clone());
        self.failure = None;
        Ok(files)
    }

    /// One look. `Ok(Some)`: the files are others than the last ones given. `Err`: the directory
    /// cannot be read; said once for each new reason.
    pub fn poll(&mut self) -> Result<Option<Files>, String> {
        let now = look(&self.directory, self.what);
        if now == self.seen && self.read_again == 0 {
            self.last = now;
            self.unsettled = 0;
            return Ok(None);
        }
        if now != self.seen {
            let settled = now == self.last;
            self.last.clone_from(&now);
            if !settled && self.unsettled < PATIENCE {
                self.unsettled += 1;
                return Ok(None);
            }
            self.read_again = READ_AGAIN;
        } else {
            self.read_again -= 1;
        }
        self.unsettled = 0;
        match read::directory(&self.directory, self.what) {
            Ok(files) => {
                self.seen.clone_from(&now);
                self.last = now;
                self.failure = None;
                if self.given.as_ref() == Some(&files) {
                    return Ok(None);
                }
                self.read_again = READ_AGAIN;
                self.given = Some(files.clone());
                Ok(Some(files))
            }
            Err(error) => {
                // `seen` stays: the next look tries again.
                let reason = error.to_string();
                if self.failure.as_ref() == Some(&reason) {
                    return Ok(None);
                }
                self.failure = Some(reason.clone());
                Err(reason)
            }
        }
    }

    /// Waits for the next change, or the next reason why there is none to see. The looks run on
    /// tokio's blocking threads, for a network file system may hang. Not to be cancelled and called
    /// again: give it a task of its own.
    pub async fn changed(mut self) -> (Self, Result<Files, String>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                let found = self.poll();
                (self, found)
            });
            let (watcher, found) = match looked.await {
                Ok(done) => done,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            };
            self = watcher;
            match found {
                Ok(Some(files)) => return (self, Ok(files)),
                Ok(None) => {}
                Err(reason) => return (self, Err(reason)),
            }
        }
    }
}

fn look(directory: &Path, what: What) -> Look {
    let version = read::current_version(directory);
    match read::list(&version, what) {
        Ok(files) => {
            let files = files
                .into_iter()
                .map(|(name, (_, it))| (name, it.len(), it.modified().ok(), inode(&it)))
                .collect();
            Look { version, files, failed: None }
        }
        Err(error) => Look { version, files: Vec::new(), failed: Some(error.kind()) },
    }
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As often as a watcher looks within a second.
    fn within_a_second(watcher: &mut Watcher) -> Option<Files> {
        (0..5).find_map(|_| watcher.poll().unwrap())
    }

    #[test]
    fn a_write_a_rename_and_a_removal_are_seen_within_a_second_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.yaml"), "one").unwrap();
        let mut watcher = Watcher::new(dir.path(), What::Manifests);
        assert_eq!(watcher.read().unwrap().get("a.yaml"), Some(&b"one"[..]));
        assert_eq!(within_a_second(&mut watcher), None);

        fs::write(at("a.yaml"), "two").unwrap();
        assert_eq!(within_a_second(&mut watcher).unwrap().get("a.yaml"), Some(&b"two"[..]));

        // As editors save: write beside, rename over.
        fs::write(at(".a.yaml.tmp"), "three").unwrap();
        fs::rename(at(".a.yaml.tmp"), at("a.yaml")).unwrap();
        assert_eq!(within_a_second(&mut watcher).unwrap().get("a.yaml"), Some(&b"three"[..]));

        fs::remove_file(at("a.yaml")).unwrap();
        assert_eq!(within_a_second(&mut watcher).unwrap().get("a.yaml"), None);

        fs::write(at("note.txt"), "not ours").unwrap();
        assert_eq!(within_a_second(&mut watcher), None);
        assert_eq!(within_a_second(&mut watcher), None);
    }

    #[test]
    fn a_second_write_of_the_same_length_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        fs::write(&path, "aaa").unwrap();
        let mut watcher = Watcher::new(dir.path(), What::Manifests);
        watcher.read().unwrap();
        let stamp = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "bbb").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(stamp).unwrap();
        assert!(within_a_second(&mut watcher).is_some());
    }

    #[test]
    fn a_file_that_is_being_written_is_read_when_it_rests_or_when_patience_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let mut watcher = Watcher::new(dir.path(), What::Manifests);
        watcher.read().unwrap();
        for _ in 0..20 {
            watcher.poll().unwrap();
        }
        fs::write(&path, "a").unwrap();
        assert_eq!(watcher.poll(), Ok(None));
        fs::write(&path, "ab").unwrap();
        assert_eq!(watcher.poll(), Ok(None));
        assert_eq!(watcher.poll().unwrap().unwrap().get("a.yaml"), Some(&b"ab"[..]));
        let looks = (0..20).position(|n| {
            fs::write(&path, "x".repeat(10 + n)).unwrap();
            watcher.poll().unwrap().is_some()
        });
        assert!(looks.unwrap() < 5);
    }

    #[test]
    fn a_directory_that_vanishes_is_said_once_and_seen_again_when_it_returns() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("manifests");
        fs::create_dir(&dir).unwrap();
        let mut watcher = Watcher::new(&dir, What::Manifests);
        watcher.read().unwrap();
        fs::remove_dir(&dir).unwrap();
        let said: Vec<_> = (0..10).filter_map(|_| watcher.poll().err()).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("a.yaml"), "a").unwrap();
        assert!(within_a_second(&mut watcher).is_some());
    }

    #[cfg(unix)]
    #[test]
    fn the_swap_of_a_mounted_secret_is_seen_whole() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let version = |name: &str, text: &str| {
            fs::create_dir(at(name)).unwrap();
            for file in ["schema", "token"] {
                fs::write(at(name).join(file), text).unwrap();
            }
        };
        version("..2026_1", "1");
        symlink("..2026_1", at("..data")).unwrap();
        symlink("..data/schema", at("schema")).unwrap();
        symlink("..data/token", at("token")).unwrap();
        let mut watcher = Watcher::new(dir.path(), What::Manifests);
        assert_eq!(watcher.read().unwrap().get("token"), Some(&b"1"[..]));
        for _ in 0..20 {
            watcher.poll().unwrap();
        }

        version("..2026_2", "2");
        symlink("..2026_2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at("..2026_1")).unwrap();
        let files = within_a_second(&mut watcher).unwrap();
        assert_eq!((files.get("schema"), files.get("token")), (Some(&b"2"[..]), Some(&b"2"[..])));
    }
}
