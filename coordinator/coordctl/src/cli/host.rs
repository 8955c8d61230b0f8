//! The command line's words about one host: isolate it, confirm that, release it.

use super::duration;
use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Isolate {
    #[command(subcommand)]
    pub(crate) verb: Option<IsolateVerb>,
    /// The host
    #[arg(required = true)]
    pub(crate) host: Option<String>,
    /// What is cut
    #[arg(long, value_enum, default_value_t)]
    pub(crate) profile: Profile,
    /// When it ends, whatever happens [default: not by itself]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) span: Option<Duration>,
    /// Why; recorded
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Also where no operator would be left
    #[arg(long, requires = "reason")]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IsolateVerb {
    /// Keep an isolation from reverting, now that the host was heard anew
    Confirm {
        /// The host
        host: String,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Everything, in both directions, but administrators and coordinators
    #[default]
    Breach,
    /// What the host and its containers begin themselves
    EgressBlock,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The host
    pub(crate) host: String,
    /// Why; recorded
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}
