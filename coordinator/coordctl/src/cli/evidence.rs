//! The command line's words about a host's evidence.

use super::duration;
use clap::{Args, Subcommand};
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceVerb {
    /// Collect what shows what happened on a host, sealed by its agent; changes nothing there
    Collect(Collect),
    /// Check an archive: who sealed it and when, and what is missing or altered
    Verify {
        /// The archive
        file: PathBuf,
        /// Also compare the host's trees with this baseline
        #[arg(long, value_name = "FILE")]
        baseline: Option<PathBuf>,
    },
    /// List the trees that a host declares, to be kept here as its baseline
    Baseline {
        /// The host
        host: String,
        /// Where to keep it; must not be there
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Why; recorded
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// The host
    pub(crate) host: String,
    /// Where to [default: HOST-TIME.evidence.tar]; must not be there
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Also the output of this command, as agent.toml of the host names it; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) with: Vec<String>,
    /// Why; recorded
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// When it is given up
    #[arg(long, value_name = "TIME", default_value = "45min", value_parser = duration)]
    pub(crate) limit: Duration,
}
