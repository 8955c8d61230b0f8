//! The cgroup v2 hierarchy: where it is, which cgroups the gate makes in it, and
//! their numbers in the kernel.
//!
//! A cgroup that is removed and made again has another number, and a rule that
//! knows the old one matches nothing: so the gate looks at them again and again.

use super::GateConfig;
use crate::service::{DriverConfig, ServiceConfig};
use model::ServiceName;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Where nft looks cgroups up.
const USUAL: &str = "/sys/fs/cgroup";

/// Where this table's processes live, below the root.
fn room(table: &str) -> String {
    format!("understudy/{table}")
}

/// The cgroup of a service of the process driver, below the root.
pub(super) fn of_service(table: &str, service: &ServiceName) -> String {
    format!("{}/{service}", room(table))
}

/// A mounted cgroup v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    mount: PathBuf,
}

impl Hierarchy {
    /// The one of this machine: the whole of it, or the v2 part of a hybrid.
    pub(super) fn find() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/self/mountinfo").ok()?)
    }

    /// From the text of a `mountinfo`: the one nft knows where there are several.
    fn of(mounts: &str) -> Option<Self> {
        let mount = |line: &str| {
            let (place, about) = line.split_once(" - ")?;
            (about.split(' ').next() == Some("cgroup2"))
                .then(|| place.split(' ').nth(4).map(PathBuf::from))?
        };
        let found: Vec<PathBuf> = mounts.lines().filter_map(mount).collect();
        let known = found.iter().find(|mount| mount.starts_with(USUAL));
        known.or_else(|| found.first()).map(|mount| Self { mount: mount.clone() })
    }

    /// The mount as nft names it; `None` where nft cannot look in it.
    pub(super) fn below_usual(&self) -> Option<&str> {
        self.mount.strip_prefix(USUAL).ok()?.to_str()
    }

    pub(super) fn path(&self, cgroup: &str) -> PathBuf {
        self.mount.join(cgroup)
    }

    /// The cgroup's number; makes the cgroup where it is missing.
    pub(super) fn number(&self, cgroup: &str) -> io::Result<u64> {
        let path = self.path(cgroup);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&path)?;
                fs::metadata(&path)
            }
            other => other,
        }
        .map(|about| about.ino())
    }

    /// Removes what we made for a table, as far as nothing runs in it.
    pub(super) fn remove_room(&self, table: &str) {
        let room = self.path(&room(table));
        for entry in fs::read_dir(&room).into_iter().flatten().flatten() {
            // One that is in use stays.
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(room);
        // Only goes when no other table has a room in it.
        let _ = fs::remove_dir(self.path("understudy"));
    }
}

/// Where a service of the process driver has its processes, if there is cgroup v2.
#[must_use]
pub fn cgroup_of(config: &GateConfig, service: &ServiceName) -> Option<PathBuf> {
    Some(Hierarchy::find()?.path(&of_service(&config.table, service)))
}

/// Makes the cgroup of every exclusive service of the process driver. Gives
/// the directory that holds them, for their holders to enter; `None` where
/// there is no cgroup v2 or it may not be written.
#[must_use]
pub fn make_room(config: &GateConfig, services: &[ServiceConfig]) -> Option<PathBuf> {
    let is_ours = |service: &&ServiceConfig| {
        service.exclusive && matches!(service.driver, DriverConfig::Process(_))
    };
    let mut ours = services.iter().filter(is_ours).peekable();
    if !config.enabled || ours.peek().is_none() {
        return None;
    }
    let hierarchy = Hierarchy::find()?;
    for service in ours {
        let cgroup = of_service(&config.table, &service.name);
        if let Err(error) = hierarchy.number(&cgroup).and_then(|_| writable(&hierarchy, &cgroup)) {
            tracing::warn!(%cgroup, %error, "processes cannot be gated by a cgroup");
            return None;
        }
    }
    Some(hierarchy.path(&room(&config.table)))
}

/// Whether processes can be moved into it.
fn writable(hierarchy: &Hierarchy, cgroup: &str) -> io::Result<()> {
    let file: &Path = &hierarchy.path(cgroup).join("cgroup.procs");
    fs::OpenOptions::new().write(true).open(file).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_that_nft_knows_is_taken() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /elsewhere rw,relatime shared:5 - cgroup2 cgroup2 rw\n\
                      32 30 0:27 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw\n";
        let found = Hierarchy::of(hybrid).unwrap();
        assert_eq!(found.below_usual(), Some("unified"));
        let pure = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(Hierarchy::of(pure).unwrap().below_usual(), Some(""));
        let odd = "31 30 0:27 / /cg rw - cgroup2 cgroup2 rw";
        assert_eq!(Hierarchy::of(odd).unwrap().below_usual(), None);
        assert_eq!(Hierarchy::of("30 24 0:26 / /sys/fs/cgroup rw - cgroup none rw"), None);
    }
}
