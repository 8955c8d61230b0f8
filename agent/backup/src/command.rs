//! `understudy-agent backup ...`: each verb, and what it tells. stdout is data.

use crate::{
    choose::{self, Which},
    config::{Config, RepositoryConfig, SourceConfig, when::SAMPLE_PERCENT},
    error::BackupError,
    limits, prune,
    repository::{self, Level, Opened},
    restore::Asked,
    run::{self as backup, Done},
    source::{Action, thaw},
    status,
    verify::Wanted,
};
use clap::Subcommand;
use daemon::{durable::DurableError, exit::Exit};
use serde::Serialize;
use std::path::PathBuf;

mod copies;
mod tell;

use copies::{Proven, restore_one, verify_all};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Make the repositories and their password files where they are missing.
    Init(Common),
    /// Copy one source, or all of them.
    Run(Common),
    /// Show the snapshots, and how far each was verified.
    List(Common),
    /// Prove the newest snapshot of one source, or of all.
    Verify {
        /// 1: its structure. 2: data is read back. 3: it is restored into a scratch place, and the source's check is asked.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
        level: u8,
        /// At level 2: how much of the data is read. 100 reads every byte that it needs.
        #[arg(long, value_name = "N", default_value_t = SAMPLE_PERCENT, value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: u8,
        /// This snapshot instead of the newest.
        #[arg(long, value_name = "ID", requires = "source")]
        snapshot: Option<String>,
        /// Of the snapshots of this host.
        #[arg(long)]
        host: Option<String>,
        /// Which source, and how it is told.
        #[command(flatten)]
        common: Common,
    },
    /// Bring a source back, or put a copy of it elsewhere.
    Restore {
        /// The source's name.
        #[arg(value_name = "SOURCE")]
        source: String,
        /// From this repository; the first of the source's that has a copy when absent.
        #[arg(long, value_name = "REPOSITORY")]
        from: Option<String>,
        /// The newest verified snapshot not newer than this: 2026-11-21T10:00:00Z, or 1h ago.
        #[arg(long, value_name = "TIME", conflicts_with = "snapshot")]
        at: Option<String>,
        /// This snapshot.
        #[arg(long, value_name = "ID")]
        snapshot: Option<String>,
        /// Into this directory, which must not be there, instead of in place.
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// Of the snapshots of this host.
        #[arg(long)]
        host: Option<String>,
        /// Also one that was never verified.
        #[arg(long)]
        unverified: bool,
        /// Only show what would be done.
        #[arg(long)]
        dry_run: bool,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Remove the snapshots that no rule keeps, and the data that none is left of.
    Prune {
        /// Only show which rule keeps what.
        #[arg(long)]
        dry_run: bool,
        /// Which source, and how it is told.
        #[command(flatten)]
        common: Common,
    },
    /// Let containers go on when stdin ends.
    #[command(hide = true)]
    Thaw {
        /// What was done to them.
        #[arg(value_enum)]
        action: ThawAction,
        /// Docker's socket.
        #[arg(long)]
        socket: PathBuf,
        /// Their ids, in the order in which they go on.
        containers: Vec<String>,
    },
}

/// What was done to containers that wait.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum ThawAction {
    /// They are frozen.
    Pause,
    /// They are stopped.
    Stop,
}

/// What most verbs take.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// One source; all of them when absent.
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// What a verb tells, and how it ends.
#[derive(Debug)]
pub struct Answer {
    /// For stdout.
    pub text: String,
    /// For stderr: what went wrong beside it.
    pub faults: Vec<String>,
    /// The exit code.
    pub exit: Exit,
}

impl Answer {
    fn of<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Self {
        let text =
            if json { serde_json::to_string(value).unwrap_or_default() } else { text(value) };
        Self { text, faults: Vec::new(), exit: Exit::Done }
    }

    fn with(mut self, failures: &[BackupError]) -> Self {
        if let Some(first) = failures.first() {
            self.exit = first.exit();
        }
        self.faults = failures.iter().map(ToString::to_string).collect();
        self
    }

    /// What the status files do not say; the copies are as they are.
    fn unnoted(mut self, errors: &[DurableError]) -> Self {
        self.faults.extend(errors.iter().map(|error| format!("the status is not noted: {error}")));
        self
    }
}

impl BackupCommand {
    /// Whether it goes without agent.toml.
    #[must_use]
    pub const fn is_thaw(&self) -> bool {
        matches!(self, Self::Thaw { .. })
    }
}

/// Carries a verb out, as the only thing that this process does.
///
/// # Errors
/// [`BackupError`]: nothing came of it.
pub fn run(command: &BackupCommand, config: &Config) -> Result<Answer, BackupError> {
    if command.is_thaw() {
        limits::lift();
    } else {
        limits::take().map_err(BackupError::Limits)?;
    }
    match command {
        BackupCommand::Init(common) => init(config, common),
        BackupCommand::Run(common) => run_all(config, common),
        BackupCommand::List(common) => list(config, common),
        BackupCommand::Verify { level, percent, snapshot, host, common } => {
            let level = Level::try_from(*level).unwrap_or(Level::ReadBack);
            let which = Which { id: snapshot.clone(), at: None, unverified: true };
            let host = host.clone().unwrap_or_else(|| config.host.clone());
            verify_all(config, common, &Wanted { level, percent: *percent }, &which, &host)
        }
        BackupCommand::Restore {
            source,
            from,
            at,
            snapshot,
            to,
            host,
            unverified,
            dry_run,
            json,
        } => {
            let at = at.as_deref().map(|text| choose::time(text, jiff::Timestamp::now()));
            let which =
                Which { id: snapshot.clone(), at: at.transpose()?, unverified: *unverified };
            let asked = Asked { to: to.clone(), unverified: *unverified, dry_run: *dry_run };
            let host = host.clone().unwrap_or_else(|| config.host.clone());
            restore_one(config, source, (from.as_deref(), &which), &asked, &host, *json)
        }
        BackupCommand::Prune { dry_run, common } => prune_all(config, common, *dry_run),
        BackupCommand::Thaw { action, socket, containers } => {
            let action = match action {
                ThawAction::Pause => Action::Pause,
                ThawAction::Stop => Action::Stop,
            };
            Ok(match thaw(action, socket, containers) {
                Ok(()) => Answer { text: String::new(), faults: Vec::new(), exit: Exit::Done },
                Err(words) => {
                    Answer { text: String::new(), faults: vec![words], exit: Exit::Failed }
                }
            })
        }
    }
}

fn named<'a>(config: &'a Config, name: &str) -> Result<&'a SourceConfig, BackupError> {
    config.source(name).ok_or_else(|| {
        let known: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
        BackupError::NoSource { name: name.into(), known: known.join(", ") }
    })
}

fn sources<'a>(config: &'a Config, common: &Common) -> Result<Vec<&'a SourceConfig>, BackupError> {
    match &common.source {
        Some(name) => Ok(vec![named(config, name)?]),
        None if config.sources.is_empty() => Err(BackupError::Nothing),
        None => Ok(config.sources.iter().collect()),
    }
}

/// The repositories of the sources that are meant.
fn repositories<'a>(
    config: &'a Config,
    common: &Common,
) -> Result<Vec<&'a RepositoryConfig>, BackupError> {
    match &common.source {
        Some(name) => Ok(config.repositories_of(named(config, name)?)),
        None if config.repositories.is_empty() => Err(BackupError::Nothing),
        None => Ok(config.repositories.iter().collect()),
    }
}

#[derive(Debug, Serialize)]
struct Init {
    repository: String,
    path: String,
    password_file: PathBuf,
    password_made: bool,
    repository_made: bool,
}

fn init(config: &Config, common: &Common) -> Result<Answer, BackupError> {
    let mut done = Vec::new();
    for repository in repositories(config, common)? {
        let made = repository::init(config, repository)?;
        done.push(Init {
            repository: repository.name.clone(),
            path: repository.target.to_string(),
            password_file: repository.password_file.clone(),
            password_made: made.password,
            repository_made: made.repository,
        });
    }
    Ok(Answer::of(common.json, &done, |done| tell::init(done)))
}

#[derive(Debug, Serialize)]
struct Ran {
    done: Vec<Done>,
    failed: Vec<String>,
    /// The most memory that this process has had in use.
    peak_memory_mib: u64,
}

fn run_all(config: &Config, common: &Common) -> Result<Answer, BackupError> {
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    let mut unnoted = Vec::new();
    for source in sources(config, common)? {
        let (begun, before) = (jiff::Timestamp::now(), done.len());
        let repositories = config.repositories_of(source);
        let mut failed = Vec::new();
        for repository in &repositories {
            match backup::run(config, source, repository) {
                Ok(one) => done.push(one),
                // The others are worth no less.
                Err(error) => {
                    failed.push(error.within(&repository.name, repositories.len() == 1));
                }
            }
        }
        unnoted.extend(status::ran(config, source, begun, &done[before..], &failed).err());
        failures.append(&mut failed);
    }
    let failed = failures.iter().map(ToString::to_string).collect();
    let ran = Ran { done, failed, peak_memory_mib: limits::peak_mib() };
    Ok(Answer::of(common.json, &ran, tell::ran).with(&failures).unnoted(&unnoted))
}

#[derive(Debug, Serialize)]
struct Listed {
    repository: String,
    snapshot: String,
    /// Nothing for one that is not ours.
    source: Option<String>,
    host: String,
    at: jiff::Timestamp,
    files: Option<u64>,
    bytes: Option<u64>,
    verified_level: Option<u8>,
    verified_percent: Option<u8>,
    verified_at: Option<jiff::Timestamp>,
}

fn list(config: &Config, common: &Common) -> Result<Answer, BackupError> {
    let mut all = Vec::new();
    for repository in repositories(config, common)? {
        let opened = Opened::look(config, repository)?;
        for snapshot in opened.snapshots()? {
            let source = snapshot.source();
            if common.source.is_some() && source != common.source {
                continue;
            }
            let summary = snapshot.file.summary.as_ref();
            let verified = snapshot.verified.as_ref();
            all.push(Listed {
                repository: repository.name.clone(),
                snapshot: snapshot.short(),
                source,
                host: snapshot.file.hostname.clone(),
                at: snapshot.file.time.timestamp(),
                files: summary.map(|all| all.total_files_processed),
                bytes: summary.map(|all| all.total_bytes_processed),
                verified_level: verified.map(|of| of.level.into()),
                verified_percent: verified.map(|of| of.read_percent),
                verified_at: verified.map(|of| of.at),
            });
        }
    }
    Ok(Answer::of(common.json, &all, |all| tell::listed(all)))
}

fn prune_all(config: &Config, common: &Common, dry_run: bool) -> Result<Answer, BackupError> {
    let mut all = Vec::new();
    for repository in repositories(config, common)? {
        all.push(prune::prune(config, repository, common.source.as_deref(), dry_run)?);
    }
    Ok(Answer::of(common.json, &all, |all| tell::pruned(all)))
}
