//! What every file says and what none may say.

use crate::{no_faults, source};
use std::fs;

#[test]
fn every_module_says_what_it_is_for() {
    let faults: Vec<String> = source::rust_files()
        .iter()
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| file.path.clone())
        .collect();
    no_faults("every .rs file begins with `//!`: its job in a line", &faults);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together so that this file does not name them.
    let words = ["to", "un"].map(|start| match start {
        "to" => format!("{start}do!("),
        _ => format!("{start}implemented!("),
    });
    let mut faults = Vec::new();
    for file in source::rust_files() {
        for (number, line) in file.numbered() {
            if words.iter().any(|word| line.contains(word))
                || line.contains("#[ignore") && !file.path.starts_with("tests/tidy/")
            {
                faults.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    no_faults("no stubs, no skipped tests", &faults);
}

#[test]
fn product_code_does_not_unwrap() {
    let mut faults = Vec::new();
    for file in source::rust_files() {
        for (number, line) in file.product_lines() {
            let unwraps = [".unwrap()", "clippy::unwrap_used", "clippy::expect_used"];
            if unwraps.iter().any(|word| line.contains(word)) {
                faults.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    no_faults("product code ends in an error, never in a panic", &faults);
}

#[test]
fn tests_wait_for_conditions_and_never_just_sleep() {
    let mut faults = Vec::new();
    for file in source::rust_files() {
        for (number, line) in file.numbered() {
            if !line.contains("sleep(") || !file.is_test_line(number) || line.contains("\"sleep(") {
                continue;
            }
            // A helper that polls looks again and again, and has a limit.
            let bounded = file
                .functions
                .iter()
                .filter(|function| (function.first..=function.last).contains(&number))
                .map(|function| file.body(function))
                .any(|body| {
                    let has = |words: &[&str]| words.iter().any(|word| body.contains(word));
                    has(&["for _ in 0.."])
                        || has(&["loop {", "while "])
                            && has(&["deadline", "Instant", "elapsed", "timeout("])
                });
            if !bounded {
                faults.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    no_faults("no sleep in tests but in a loop with a limit", &faults);
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let machines = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let mut faults = Vec::new();
    for (path, text) in source::files() {
        for (number, line) in text.lines().enumerate() {
            for folder in &machines {
                // `net/work/` is another thing: the slash must begin a path.
                let named = line.match_indices(folder.as_str()).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| {
                        c.is_alphanumeric() || matches!(c, '.' | '}' | '*' | '~' | '_' | '-')
                    })
                });
                if named {
                    faults.push(format!("{path}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    no_faults("no paths of one machine in the tree", &faults);
}

#[test]
fn commands_in_the_documents_exist() {
    let source = fs::read_to_string(source::root().join("xtask/src/main.rs")).unwrap();
    let parsed = syn::parse_file(&source).unwrap();
    let habits: Vec<String> = parsed
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Enum(item) if item.ident == "Habit" => Some(&item.variants),
            _ => None,
        })
        .flatten()
        .map(|variant| variant.ident.to_string().to_lowercase())
        .collect();
    assert!(!habits.is_empty(), "xtask's enum `Habit` was not found");
    let mut faults = Vec::new();
    for (path, text) in source::files().iter().filter(|(path, _)| path.ends_with(".md")) {
        for (at, _) in text.match_indices("cargo xtask ") {
            let rest = &text[at + "cargo xtask ".len()..];
            let word: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            if !word.is_empty() && !habits.contains(&word) {
                faults.push(format!("{path}: `cargo xtask {word}`"));
            }
        }
    }
    no_faults("documents name commands that exist", &faults);
}

#[test]
fn the_documents_are_there() {
    let needed = [
        "README.md",
        "ARCHITECTURE.md",
        "GLOSSARY.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "deny.toml",
        "clippy.toml",
        "rustfmt.toml",
        "rust-toolchain.toml",
        ".ci/run",
    ];
    let missing: Vec<String> = needed
        .iter()
        .filter(|name| !source::root().join(name).is_file())
        .map(|name| (*name).to_owned())
        .collect();
    no_faults("top-level files", &missing);
    let readme = fs::read_to_string(source::root().join("README.md")).unwrap();
    for command in ["cargo xtask demo", "cargo xtask test"] {
        assert!(readme.contains(command), "README.md does not say `{command}`");
    }
}
