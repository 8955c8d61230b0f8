//! The house rules that a machine can check, on the tree as it stands: no
//! commit, no network, and no built program is needed.
//!
//! Each rule is one test; a failure lists every place and says what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "all of this is test code")]

#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/metadata.rs"]
mod metadata;
#[path = "tidy/places.rs"]
mod places;
#[path = "tidy/pure.rs"]
mod pure;
#[path = "tidy/size.rs"]
mod size;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

/// Fails with one line for each fault.
fn no_faults(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}\n  {}", faults.join("\n  "));
}
