//! Replays the inputs that fuzzing has kept in `fuzz/corpus`. `make fuzz` looks for new ones.

#[path = "../fuzz/src/target/mod.rs"]
mod target;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn corpus() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus"].iter().collect()
}

#[test]
fn what_must_hold_for_a_parser_holds_for_all_inputs_that_were_kept() {
    for (name, check) in target::ALL {
        let files = fs::read_dir(corpus().join(name)).unwrap();
        let mut accepted = 0;
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            accepted += u32::from(check(&fs::read(&path).unwrap()));
        }
        assert!(accepted > 0, "{name} accepts no input");
    }
}

#[test]
fn each_parser_has_a_target_and_a_corpus() {
    let names: BTreeSet<_> = target::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let in_directory: BTreeSet<_> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(in_directory, names);
    let manifest = include_str!("../fuzz/Cargo.toml");
    let binaries: BTreeSet<_> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .map(str::to_owned)
        .collect();
    assert_eq!(binaries, names);
}
