//! Who may depend on whom, and on what: arrows between our crates, licences,
//! and one TLS provider. deny.toml says the same for those who have cargo-deny.

use crate::{metadata, no_faults};
use std::collections::BTreeMap;

/// Our crates and which of ours each may name. `model` holds the shared words,
/// so everything may; nothing but the coordinator knows the pure core.
const ARROWS: [(&str, &[&str]); 13] = [
    ("model", &[]),
    ("failover", &["model"]),
    ("proto", &["model"]),
    ("certs", &["model"]),
    ("daemon", &[]),
    ("backup", &["certs", "daemon", "model", "proto"]),
    ("agent", &["backup", "certs", "daemon", "model", "proto"]),
    ("coordinator", &["certs", "daemon", "failover", "model", "proto"]),
    ("coordctl", &["certs", "daemon", "model", "proto"]),
    ("protocol", &[]),
    ("tests", &[]),
    ("simulation", &["agent", "failover", "model"]),
    ("xtask", &[]),
];

/// Licences that a dependency may come under. Each is permissive; a new one is
/// a decision, made here and in deny.toml.
const LICENCES: [&str; 13] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that come under another one, each a decision of its own. MPL-2.0 is
/// copyleft file by file: used unchanged it asks for nothing but its own text.
const EXCEPTIONS: [(&str, &str); 1] = [("option-ext", "MPL-2.0")];

/// Two TLS providers in one graph make rustls' builders panic, so there is ring alone.
const BANNED: [&str; 5] = ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys"];

#[test]
fn crates_depend_on_each_other_only_as_the_layout_says() {
    let metadata = metadata::read();
    let members = metadata::members(&metadata);
    let names: Vec<&str> = members.iter().map(|member| member["name"].as_str().unwrap()).collect();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into();
    let mut faults = Vec::new();
    for member in &members {
        let name = member["name"].as_str().unwrap();
        let Some(allowed) = arrows.get(name) else {
            faults.push(format!("crate `{name}` has no arrows yet: add it to ARROWS"));
            continue;
        };
        for used in metadata::dependencies(member) {
            if names.contains(&used) && !allowed.contains(&used) {
                faults.push(format!("`{name}` may not depend on `{used}`"));
            }
        }
    }
    no_faults("dependency arrows (ARCHITECTURE.md)", &faults);
}

#[test]
fn one_tls_provider_and_it_is_ring() {
    let metadata = metadata::read();
    let faults: Vec<String> = metadata::resolved(&metadata)
        .iter()
        .filter_map(|package| package["name"].as_str())
        .filter(|name| BANNED.contains(name))
        .map(|name| format!("{name} is in the graph; `cargo tree --invert {name}` says why"))
        .collect();
    no_faults("banned crates", &faults);
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let metadata = metadata::read();
    let mut faults = Vec::new();
    for package in metadata::resolved(&metadata) {
        let licence = package["license"].as_str().unwrap_or_default();
        let name = package["name"].as_str().unwrap_or_default();
        if !allowed(licence) && !EXCEPTIONS.contains(&(name, licence)) {
            faults.push(format!("{} {}: `{licence}`", package["name"], package["version"]));
        }
    }
    no_faults("licences (the list is in tests/tidy/crates.rs and deny.toml)", &faults);
}

#[test]
fn dependencies_come_from_the_registry_alone() {
    let metadata = metadata::read();
    let mut faults = Vec::new();
    for package in metadata::resolved(&metadata) {
        // Ours have no source at all.
        if let Some(source) = package["source"].as_str()
            // A git repository or a path would begin otherwise.
            && !source.starts_with("registry+")
        {
            faults.push(format!("{} comes from {source}", package["name"]));
        }
    }
    no_faults("sources", &faults);
}

#[test]
fn deny_toml_says_the_same() {
    let text = std::fs::read_to_string(crate::source::root().join("deny.toml")).unwrap();
    let mut faults = Vec::new();
    let exceptions = EXCEPTIONS.into_iter().flat_map(|(name, licence)| [name, licence]);
    for word in LICENCES.into_iter().chain(BANNED).chain(exceptions) {
        if !text.contains(&format!("\"{word}\"")) {
            faults.push(format!("deny.toml does not name {word}"));
        }
    }
    no_faults("deny.toml", &faults);
}

/// Whether an SPDX expression can be satisfied with the allowed licences.
/// Knows OR (also as `/`, the old way), AND and brackets one level deep: what
/// packages really write.
fn allowed(expression: &str) -> bool {
    let mut text = expression.replace('/', " OR ");
    // A bracket is worth what is in it: put a word in its place.
    while let (Some(open), Some(close)) = (text.find('('), text.find(')')) {
        let inner = if allowed(&text[open + 1..close]) { "MIT" } else { "refused" };
        text.replace_range(open..=close, inner);
    }
    // AND binds more tightly than OR.
    text.split(" OR ")
        .any(|choice| choice.split(" AND ").all(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn licence_expressions_are_understood() {
    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-3.0) AND Unicode-3.0"] {
        assert!(allowed(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR GPL-3.0) AND MIT"] {
        assert!(!allowed(bad), "{bad}");
    }
}
