//! The program as a person meets it.

use std::process::{Command, Output};

fn operator(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_trunkline-operator");
    Command::new(program).args(arguments).output().expect("cargo built it")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn help_teaches_what_it_is_and_how_to_begin() {
    let help = printed(&operator(&["--help"]));
    for words in ["Trunk", "MediaPool", "Examples:", "--media-image", "kubectl apply"] {
        assert!(help.contains(words), "{words}: {help}");
    }
    let run = printed(&operator(&["run", "--help"]));
    for flag in ["--namespace", "--all-namespaces", "--default-pool", "--lease", "--http"] {
        assert!(run.contains(flag), "{flag}: {run}");
    }
}

#[test]
fn crds_prints_the_definitions_that_are_checked_in() {
    let printed = printed(&operator(&["crds"]));
    for (file, yaml) in trunkline_crds::definitions::files() {
        assert!(printed.contains(&yaml), "{file}");
    }
    assert_eq!(printed.matches("kind: CustomResourceDefinition").count(), 3);
}

#[test]
fn a_flag_that_does_not_fit_is_refused_with_a_sentence() {
    let both = ["run", "--media-image=i", "--namespace=a", "--all-namespaces"];
    let refused = operator(&both);
    assert!(!refused.status.success());
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("cannot be used with"), "{why}");
}
