//! Small rooms: functions up to 70 lines, files up to 400 without their tests.
//!
//! A ratchet: `tidy/exceptions` lists what was over the limit when the rule
//! came, with its size. An entry may shrink and go; none may grow or be added.

use crate::{no_faults, source};
use std::{collections::BTreeMap, fs};

/// The longest function, from `fn` to its closing brace.
const FUNCTION_MAX: usize = 70;
/// The longest file, without its tests.
const FILE_MAX: usize = 400;

#[test]
fn functions_and_files_stay_small() {
    let exceptions = exceptions();
    let mut over = BTreeMap::new();
    for file in source::rust_files() {
        if !file.is_test_file() && file.length() > FILE_MAX {
            over.insert(file.path.clone(), file.length());
        }
        for function in &file.functions {
            let length = function.last - function.first + 1;
            if length > FUNCTION_MAX {
                over.insert(format!("{}::{}", file.path, function.name), length);
            }
        }
    }
    let mut faults = Vec::new();
    for (what, length) in &over {
        match exceptions.get(what) {
            None => faults.push(format!("{what} has {length} lines: split it")),
            Some(known) if length > known => {
                faults.push(format!("{what} has grown from {known} to {length} lines: split it"));
            }
            Some(known) if length < known => {
                faults.push(format!("{what} has shrunk to {length}: say so in tidy/exceptions"));
            }
            Some(_) => {}
        }
    }
    for what in exceptions.keys().filter(|what| !over.contains_key(*what)) {
        faults.push(format!("{what} is small now: take it out of tidy/exceptions"));
    }
    no_faults(
        &format!("functions up to {FUNCTION_MAX} lines, files up to {FILE_MAX} without tests"),
        &faults,
    );
}

/// `path 412` or `path::function 83`, one a line; `#` begins a comment.
fn exceptions() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(source::root().join("tests/tidy/exceptions")).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (what, length) = line.rsplit_once(' ').expect("`what lines`");
            (what.to_owned(), length.parse().expect("a number of lines"))
        })
        .collect()
}
