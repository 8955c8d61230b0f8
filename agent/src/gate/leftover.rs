//! Connections that an earlier life of a group left on this host. A program that
//! was killed leaves what it had sent in the kernel, which goes on sending it: what
//! was held back by the closed gate would reach the venue when the gate opens again.
//! So those connections end when the group's services were stopped, and, because an
//! agent may have been dead by then, once more before a promotion.
//!
//! Only cgroups need it: a container on a bridge takes its network along.

use super::{Gate, cgroup::Hierarchy, program};
use model::GroupId;
use std::{fs, path::PathBuf, time::Duration};
use tokio::{task::spawn_blocking, time::timeout};

/// How long a promotion waits for it. It takes 3 ms; the lease is not asked for
/// meanwhile, and a machine that is slower than this has other troubles.
const LIMIT: Duration = Duration::from_secs(1);

/// Cgroups of a group at most, with those below them.
const CGROUPS_MAX: usize = 64;

impl Gate {
    /// Ends every connection of the group's cgroups that leaves this host's
    /// loopback. To be called when all of it was stopped, and before a promotion asks
    /// for its lease: when nothing of the group has a connection that it may use.
    /// Never fails: what could not be done is logged, and is no reason not to serve.
    pub async fn end_leftovers(&self, group: &GroupId) {
        let cgroups: Vec<String> = {
            let state = self.0.shared.lock();
            let own = state.cgroups.iter().filter(|(of, _)| of == group);
            own.map(|(_, cgroup)| cgroup.clone()).collect()
        };
        if cgroups.is_empty() {
            return;
        }
        // Files of the kernel's own, which answer at once.
        let Some(hierarchy) = Hierarchy::find() else { return };
        let found = cgroups.iter().map(|cgroup| hierarchy.path(cgroup)).collect();
        let Some(filter) = filter(&with_those_below(found)) else { return };
        let ending = spawn_blocking(move || program::end_connections(&filter));
        let reason = match timeout(LIMIT, ending).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("not done within {} s", LIMIT.as_secs())),
        };
        if let Some(reason) = reason {
            tracing::warn!(
                %group, reason,
                "connections of an earlier run were not ended; what they still hold may be sent \
                 once the gate opens"
            );
        }
    }
}

/// The directories that are there, and theirs.
fn with_those_below(mut places: Vec<PathBuf>) -> Vec<PathBuf> {
    places.retain(|place| place.is_dir());
    let mut at = 0;
    while let Some(place) = places.get(at).filter(|_| places.len() < CGROUPS_MAX) {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        let below: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        places.extend(below);
        at += 1;
    }
    places.truncate(CGROUPS_MAX);
    places
}

/// In the words of `ss`; `None` where there is nothing to look for. It has no way
/// to quote, so a cgroup whose name it would not read is left out.
fn filter(cgroups: &[PathBuf]) -> Option<String> {
    let plain = |word: &&str| {
        word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-@:".contains(&byte))
    };
    let one = |path: &PathBuf| path.to_str().filter(plain).map(|path| format!("cgroup = {path}"));
    let any: Vec<String> = cgroups.iter().filter_map(one).collect();
    (!any.is_empty())
        .then(|| format!("( {} ) and not ( dst 127.0.0.0/8 or dst [::1] )", any.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_below_are_found_and_odd_names_left_out() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("a.slice");
        fs::create_dir_all(slice.join("mt5.service")).unwrap();
        fs::create_dir_all(slice.join("odd name")).unwrap();
        fs::write(slice.join("cgroup.procs"), "").unwrap();
        let found = with_those_below(vec![slice.clone(), root.path().join("gone")]);
        assert_eq!(found.len(), 3, "{found:?}");
        let filter = filter(&found).unwrap();
        assert_eq!(filter.matches("cgroup = ").count(), 2, "{filter}");
        assert!(filter.contains(&format!("cgroup = {}/mt5.service", slice.display())), "{filter}");
        assert_eq!(super::filter(&[]), None);
    }
}
