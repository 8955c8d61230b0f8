//! The newest proven backup of each source, its age, and the target.

use super::{Check, CheckResult};
use crate::sight::{CopySight, SiteSight};
use alloc::{format, string::String, vec::Vec};
use model::HostId;

/// The sources of the group on a site.
pub(super) fn backups(site: &SiteSight) -> Vec<Check> {
    let hosts = site.hosts.iter();
    hosts.flat_map(|host| host.copies.iter().map(|copy| backup(&host.host, copy))).collect()
}

fn backup(host: &HostId, copy: &CopySight) -> Check {
    let name = &copy.source;
    let newest = match copy.age {
        Some(age) => {
            format!(
                "{name}: snapshot {} is {age} old, proven to level {}",
                copy.snapshot, copy.level
            )
        }
        None if copy.survives => format!("{name}: no proven copy survives the host"),
        None => format!("{name}: every repository of it is lost with the host"),
    };
    let bounds: Vec<String> = [("target", copy.target), ("at most", copy.max)]
        .into_iter()
        .filter_map(|(word, bound)| Some(format!("{word} {}", bound?)))
        .collect();
    let mut found = newest;
    if !bounds.is_empty() {
        found.push_str(&format!(" ({})", bounds.join(", ")));
    }
    if !copy.failed.is_empty() {
        found.push_str(&format!("; the last run failed: {}", copy.failed));
    }
    let result = if copy.beyond(copy.max) {
        CheckResult::Failed
    } else if copy.beyond(copy.target) || copy.age.is_none() || !copy.failed.is_empty() {
        CheckResult::Warn
    } else {
        CheckResult::Ok
    };
    let hint = if copy.survives {
        format!("on {host}: understudy-agent backup run {name}, and look at its schedule")
    } else {
        format!("give {name} a repository elsewhere, and write survives = true there")
    };
    Check::new("backup", host.as_str(), result, found, hint)
}
