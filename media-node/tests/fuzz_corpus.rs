//! The kept corpus of every fuzz target, and every truncation of it: what was once found stays
//! found.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "../fuzz/targets.rs"]
mod targets;

#[test]
fn every_target_survives_its_corpus_and_every_truncation_of_it() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let files: Vec<_> = fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("{name} has no corpus: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(!files.is_empty(), "{name} has an empty corpus");
        for file in files {
            let bytes = fs::read(&file).unwrap();
            target(&bytes);
            // A quarter of a thousand cuts is enough for a file of any length.
            let step = bytes.len() / 250 + 1;
            for len in (0..bytes.len()).step_by(step) {
                target(&bytes[..len]);
            }
        }
    }
}

#[test]
fn every_corpus_has_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let folders: BTreeSet<String> = fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> =
        targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(folders, names);
}
