//! What cargo says of the workspace and of everything it is built from.

use serde_json::Value;
use std::{env, process::Command};

use crate::source;

/// `cargo metadata` for this machine's target: other targets' crates need not
/// have been downloaded.
pub(crate) fn read() -> Value {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let done = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform"])
        .arg(host())
        .current_dir(source::root())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn host() -> String {
    let done = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// The packages that are built here (the resolved graph, not the lock file).
pub(crate) fn resolved(metadata: &Value) -> Vec<&Value> {
    let ids: Vec<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap())
        .collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.filter(|package| ids.contains(&package["id"].as_str().unwrap())).collect()
}

/// Our own packages.
pub(crate) fn members(metadata: &Value) -> Vec<&Value> {
    let ids = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.filter(|package| ids.contains(&package["id"])).collect()
}

/// Names of what a package depends on, but for its tests.
pub(crate) fn dependencies(package: &Value) -> Vec<&str> {
    let all = package["dependencies"].as_array().unwrap().iter();
    let mut names: Vec<&str> = all
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| dependency["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names
}
