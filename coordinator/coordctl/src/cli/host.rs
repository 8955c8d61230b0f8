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

#[derive(Debug, Args)]
pub(crate) struct EmergencyStop {
    /// The group; may be left out when there is one
    #[arg(conflicts_with = "all")]
    pub(crate) group: Option<String>,
    /// Every group
    #[arg(long)]
    pub(crate) all: bool,
    /// Only the hosts of this site [default: every host of the group]
    #[arg(long, value_name = "SITE", conflicts_with = "host")]
    pub(crate) site: Option<String>,
    /// Only this host
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Why; recorded
    #[arg(long, value_name = "TEXT", default_value = "", required_unless_present = "release")]
    pub(crate) reason: String,
    /// Let run again what was stopped
    #[arg(long)]
    pub(crate) release: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}
