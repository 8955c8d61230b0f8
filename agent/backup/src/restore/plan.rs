//! What a restore would do, found out before it changes anything: what is
//! missing, what does not fit, who would have to wait.

use super::{RestoreError, base_of};
use crate::{
    config::{Config, Kind, SourceConfig, VolumeName},
    manifest::{self, Manifest},
    repository::{Opened, Snapshot, words},
    restore::tree,
    source::docker::{Docker, Found},
    verify,
};
use rustic_core::{IndexedFullStatus, LsOptions, Repository};
use rustix::fs::statvfs;
use serde::Serialize;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Room that is left over on the disk: a tenth of a percent would do for the
/// directories, and a full disk stops everything else on the host.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;

/// The longest manifest that is read.
const MANIFEST_MAX: usize = 16 * 1024 * 1024;

/// What a restore would do.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) source: String,
    pub(crate) snapshot: String,
    pub(crate) host: String,
    pub(crate) taken: jiff::Timestamp,
    pub(crate) verified_level: Option<u8>,
    /// Where it goes.
    pub(crate) to: PathBuf,
    /// Names that change places with what is there; empty with `--to`.
    pub(crate) replaces: Vec<PathBuf>,
    /// Containers that are stopped for the swap, and started after it.
    pub(crate) waits: Vec<String>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) free_bytes: u64,
    /// Images that its containers had and that are not here, and the like.
    pub(crate) notes: Vec<String>,
    /// Why it cannot be done.
    pub(crate) problems: Vec<String>,
    #[serde(skip)]
    pub(crate) beside: PathBuf,
    #[serde(skip)]
    pub(crate) in_place: bool,
    #[serde(skip)]
    pub(crate) unverified: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) to: Option<PathBuf>,
    pub(crate) unverified: bool,
    pub(crate) dry_run: bool,
}

/// Where a source's files live here; `None` for what only its own program can load.
pub(crate) fn home(source: &SourceConfig) -> Result<Option<(PathBuf, Vec<PathBuf>)>, RestoreError> {
    Ok(match &source.kind {
        Kind::Paths(paths) => Some((paths.root.clone(), paths.paths.clone())),
        Kind::Volume(volume) => {
            let docker = Docker::connect(&source.socket)?;
            Some((docker.volume(&volume.volume)?.mountpoint, Vec::new()))
        }
        Kind::Container(_) | Kind::Command(_) => None,
    })
}

/// Running containers that use what would be replaced.
pub(crate) fn dependants(
    source: &SourceConfig,
    live: &[PathBuf],
) -> Result<Vec<Found>, RestoreError> {
    // Where there is no Docker, no container can use a path.
    if matches!(source.kind, Kind::Paths(_)) && !source.socket.exists() {
        return Ok(Vec::new());
    }
    let docker = Docker::connect(&source.socket)?;
    let mut users = docker.users_of(live)?;
    users.retain(|user| user.running);
    Ok(users)
}

/// Makes the plan. Nothing is changed.
pub(crate) fn make(
    config: &Config,
    opened: &Opened,
    indexed: &Repository<IndexedFullStatus>,
    source: &SourceConfig,
    snapshot: &Snapshot,
    asked: &Asked,
) -> Result<Plan, RestoreError> {
    let mut plan = Plan {
        source: source.name.clone(),
        snapshot: snapshot.short(),
        host: snapshot.file.hostname.clone(),
        taken: snapshot.file.time.timestamp(),
        verified_level: snapshot.verified.as_ref().map(|verified| verified.level.into()),
        to: PathBuf::new(),
        replaces: Vec::new(),
        waits: Vec::new(),
        files: 0,
        bytes: 0,
        free_bytes: 0,
        notes: Vec::new(),
        problems: Vec::new(),
        beside: PathBuf::new(),
        in_place: asked.to.is_none(),
        unverified: snapshot.verified.is_none(),
    };
    if plan.unverified && !asked.unverified {
        plan.problems.push(format!(
            "snapshot {} was never verified; run `understudy-agent backup verify {}`, or add --unverified",
            plan.snapshot, source.name
        ));
    }
    match manifest(indexed, source, snapshot) {
        Ok(manifest) => look_at_manifest(source, &manifest, &mut plan),
        Err(words) => plan.problems.push(words),
    }
    if let Err(error) = verify::check(opened, source, snapshot, false) {
        plan.problems.push(error.to_string());
    }
    match &asked.to {
        Some(to) => elsewhere(to, &mut plan),
        None => in_place(config, source, &mut plan)?,
    }
    match count(indexed, source, snapshot) {
        Ok((files, bytes)) => {
            let summary = snapshot.file.summary.as_ref().map_or(0, |all| all.total_bytes_processed);
            (plan.files, plan.bytes) = (files, bytes.max(summary));
        }
        Err(words) => plan.problems.push(words),
    }
    room(&mut plan);
    Ok(plan)
}

/// The manifest of a snapshot.
fn manifest(
    indexed: &Repository<IndexedFullStatus>,
    source: &SourceConfig,
    snapshot: &Snapshot,
) -> Result<Manifest, String> {
    let name = manifest::file_name(&source.name);
    let failed = |error: Box<rustic_core::RusticError>| {
        format!("the snapshot's manifest {name} cannot be read: {}", words(&error))
    };
    let node = indexed.node_from_path(snapshot.file.tree, Path::new(&name)).map_err(failed)?;
    let open = indexed.open_file(&node).map_err(failed)?;
    let bytes = indexed.read_file_at(&open, 0, MANIFEST_MAX).map_err(failed)?;
    let found: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| format!("the snapshot's manifest {name} is not understood: {error}"))?;
    if found.version != manifest::VERSION {
        let (theirs, ours) = (found.version, manifest::VERSION);
        return Err(format!(
            "the manifest has version {theirs}, and this program knows {ours}; use a newer one"
        ));
    }
    Ok(found)
}

fn look_at_manifest(source: &SourceConfig, manifest: &Manifest, plan: &mut Plan) {
    if manifest.source != source.name || manifest.kind != source.kind.word() {
        let (name, kind) = (&manifest.source, &manifest.kind);
        plan.problems.push(format!(
            "the snapshot is of source `{name}` of kind \"{kind}\", and agent.toml has another under this name"
        ));
    }
    if let Kind::Paths(paths) = &source.kind {
        if plan.in_place && manifest.names != paths.paths {
            plan.problems.push(format!(
                "the snapshot holds {:?}, and agent.toml says {:?}; restore it with --to and choose by hand",
                manifest.names, paths.paths
            ));
        }
        if !manifest.exclude.is_empty() {
            plan.notes.push(format!(
                "excluded names are not in the snapshot, and move to the safety copy: {:?}",
                manifest.exclude
            ));
        }
    }
    if let (Kind::Volume(volume), Some(was)) = (&source.kind, &manifest.volume)
        && let VolumeName::Name(name) = &volume.volume
        && name != was
    {
        plan.notes.push(format!("the copy is of volume `{was}`, and goes to `{name}`"));
    }
    for container in &manifest.containers {
        plan.notes.push(format!(
            "container `{}` had image {} ({})",
            container.name, container.image, container.image_id
        ));
    }
}

fn elsewhere(to: &Path, plan: &mut Plan) {
    plan.to = to.into();
    let empty = || fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
    if fs::symlink_metadata(to).is_ok() && !empty() {
        plan.problems.push(format!("{} is there already and not an empty directory", to.display()));
    }
    let parent = to.parent().filter(|parent| parent.is_dir());
    match (parent, to.file_name()) {
        (Some(parent), Some(_)) if to.is_absolute() => {
            plan.beside = base_of(parent, &plan.source);
        }
        _ => plan.problems.push(format!(
            "{} is no place for it: write an absolute path in a directory that exists",
            to.display()
        )),
    }
}

fn in_place(config: &Config, source: &SourceConfig, plan: &mut Plan) -> Result<(), RestoreError> {
    let (root, names) = match home(source) {
        Ok(Some(home)) => home,
        Ok(None) => {
            plan.problems.push(format!(
                "only the program that made it can load a source of kind \"{}\"; restore it with \
                 --to DIRECTORY, and load it from there",
                source.kind.word()
            ));
            return Ok(());
        }
        Err(error) => {
            plan.problems.push(error.to_string());
            return Ok(());
        }
    };
    plan.to.clone_from(&root);
    let Some(base) = (if names.is_empty() { root.parent() } else { Some(root.as_path()) }) else {
        return Err(RestoreError::Root);
    };
    plan.beside = base_of(base, &source.name);
    plan.replaces = if names.is_empty() {
        vec![root.clone()]
    } else {
        names.iter().map(|name| root.join(name)).collect()
    };
    if !base.is_dir() {
        plan.problems.push(format!("{} is not there; make it first", base.display()));
        return Ok(());
    }
    for live in &plan.replaces {
        if let Some(problem) = swappable(base, live) {
            plan.problems.push(problem);
        }
    }
    match dependants(source, &plan.replaces) {
        Ok(users) => {
            for user in users {
                if user.is_one_of(&config.exclusive) {
                    plan.problems.push(format!(
                        "container `{}` runs, and is of an exclusive service that only the agent may \
                         start; move its group away first (coordctl switchover), or stop it", user.name
                    ));
                }
                plan.waits.push(user.name);
            }
        }
        Err(error) => plan.problems.push(error.to_string()),
    }
    Ok(())
}

/// Whether a name can be exchanged with one that is written into `base`.
fn swappable(base: &Path, live: &Path) -> Option<String> {
    let device = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta.dev())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    };
    let words = match (device(base), device(live), live.parent().map(device)) {
        (Ok(base), Ok(Some(live)), _) if base == Some(live) => return None,
        (Ok(base), Ok(None), Some(Ok(parent))) if base == parent => return None,
        (Ok(_), Ok(None), Some(Ok(None)) | None) => {
            return Some(format!(
                "the directory of {} is not there; make it first",
                live.display()
            ));
        }
        (Err(words), _, _) | (_, Err(words), _) | (_, _, Some(Err(words))) => words,
        _ => format!("{} is a mount point", live.display()),
    };
    Some(format!("{words}; it cannot be swapped: use --to, and copy"))
}

/// Files and bytes; every piece of data that a file names must be in the index.
fn count(
    indexed: &Repository<IndexedFullStatus>,
    source: &SourceConfig,
    snapshot: &Snapshot,
) -> Result<(u64, u64), String> {
    let failed = |error: Box<rustic_core::RusticError>| words(&error);
    let top =
        indexed.node_from_path(snapshot.file.tree, Path::new(&source.name)).map_err(failed)?;
    let (mut files, mut bytes) = (0, 0);
    for entry in
        tree::entries(indexed, &top, &LsOptions::default()).map_err(|error| error.to_string())?
    {
        let (path, node) = entry.map_err(|error| error.to_string())?;
        if node.is_file() {
            indexed
                .open_file(&node)
                .map_err(|error| format!("{}: {}", path.display(), words(&error)))?;
            files += 1;
            bytes += node.meta.size;
        }
    }
    Ok((files, bytes))
}

fn room(plan: &mut Plan) {
    let Some(there) = plan.beside.parent().filter(|there| there.is_dir()) else { return };
    match statvfs(there) {
        Ok(room) => {
            plan.free_bytes = room.f_bavail.saturating_mul(room.f_frsize);
            let needed = plan.bytes.saturating_add(SPARE_BYTES);
            if plan.free_bytes < needed {
                plan.problems.push(format!(
                    "{} has {} MiB free and {} MiB are needed (what is there stays as the safety copy)",
                    there.display(), plan.free_bytes >> 20, needed >> 20
                ));
            }
            // Some file systems have no fixed number, and say 0 of 0.
            if room.f_files > 0 && room.f_favail < plan.files {
                plan.problems.push(format!(
                    "{} has {} inodes free and {} are needed",
                    there.display(),
                    room.f_favail,
                    plan.files
                ));
            }
        }
        Err(error) => plan.problems.push(format!("{}: {error}", there.display())),
    }
}
