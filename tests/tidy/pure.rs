//! The pure core stays pure: no clock, no socket, no thread, no random source.
//! Time, randomness and ids are arguments.

use crate::{metadata, no_faults, source};
use std::fs;

/// Words that only an impure core would need.
const IMPURE: [&str; 12] = [
    "std::",
    "tokio",
    "rand::",
    "getrandom",
    "Instant::",
    "SystemTime",
    "thread::",
    "async ",
    "await",
    "println!",
    "HashMap",
    "HashSet",
];

#[test]
fn the_core_has_no_std() {
    for (crate_name, path) in
        [("failover", "coordinator/failover/src/lib.rs"), ("model", "proto/model/src/lib.rs")]
    {
        let text = fs::read_to_string(source::root().join(path)).unwrap();
        let stated = text.lines().any(|line| line.trim() == "#![no_std]");
        assert!(stated, "{crate_name} must say `#![no_std]` in {path}");
    }
}

#[test]
fn the_core_depends_on_data_alone() {
    let metadata = metadata::read();
    for member in metadata::members(&metadata) {
        if member["name"] == "failover" {
            let names = metadata::dependencies(member);
            assert_eq!(names, ["model", "serde", "thiserror"], "the pure core's dependencies");
        }
    }
}

#[test]
fn the_core_reads_no_clock_and_touches_nothing() {
    let mut faults = Vec::new();
    for file in source::rust_files() {
        if !file.path.starts_with("coordinator/failover/src/") {
            continue;
        }
        for (number, line) in file.product_lines() {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{number}: `{word}` in the pure core", file.path));
            }
        }
    }
    no_faults("the core decides, the driver acts", &faults);
}
