//! The command line's words about backups: as `understudy-agent backup` has them,
//! with the host on which they are done.

use super::duration;
use clap::{Args, Subcommand};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// Copy one source, or all of them
    Run {
        /// One source; all of them when absent
        source: Option<String>,
        #[command(flatten)]
        on: On,
    },
    /// Show the snapshots, and how far each was verified
    List {
        /// Only of this source
        source: Option<String>,
        #[command(flatten)]
        on: On,
    },
    /// Prove the newest snapshot of one source, or of all
    Verify {
        /// One source; all of them when absent
        source: Option<String>,
        /// 1: its structure. 2: data is read back. 3: it is restored into a scratch place, and the source's check is asked
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3))]
        level: Option<u32>,
        /// At level 2: how much of the data is read, in percent
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
        percent: Option<u32>,
        /// This snapshot instead of the newest
        #[arg(long, value_name = "ID", requires = "source")]
        snapshot: Option<String>,
        /// Of the snapshots of this host
        #[arg(long, value_name = "HOST")]
        of: Option<String>,
        #[command(flatten)]
        on: On,
    },
    /// Bring a source back, or put a copy of it elsewhere on the host
    Restore(RestoreArgs),
    /// Remove the snapshots that no rule keeps, and the data that none is left of
    Prune {
        /// Only of this source
        source: Option<String>,
        /// Only show which rule keeps what
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        on: On,
    },
    /// What a host's loss would lose now: each source's newest proven copy, against its bounds
    ///
    /// Exit code 1 when a source is beyond what is acceptable.
    Rpo {
        /// Only this group's sources
        group: Option<String>,
    },
}

/// Where, why and for how long.
#[derive(Debug, Args)]
pub(crate) struct On {
    /// The host on which it is done
    #[arg(long, value_name = "HOST")]
    pub(crate) host: String,
    /// Why; recorded
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// When it is given up
    #[arg(long = "limit", value_name = "TIME", default_value = "6h", value_parser = duration)]
    pub(crate) limit: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The source, as agent.toml of the host names it
    pub(crate) source: String,
    /// The newest verified snapshot not newer than this: 2026-11-21T10:00:00Z, or "1h ago"
    #[arg(long, value_name = "TIME", conflicts_with = "snapshot")]
    pub(crate) at: Option<String>,
    /// This snapshot
    #[arg(long, value_name = "ID")]
    pub(crate) snapshot: Option<String>,
    /// Into this directory of the host, which must not be there, instead of in place
    #[arg(long, value_name = "PATH")]
    pub(crate) to: Option<String>,
    /// Of the snapshots of this host
    #[arg(long, value_name = "HOST")]
    pub(crate) of: Option<String>,
    /// Also one that was never verified
    #[arg(long)]
    pub(crate) unverified: bool,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) on: On,
}
