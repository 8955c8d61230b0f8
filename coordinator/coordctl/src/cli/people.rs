//! The command line's words about operators: who they are, and their consent.

use super::duration;
use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Number of the request, as `status` shows it
    pub(crate) approval: u64,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorVerb {
    /// Make a single-use token for another operator and print it
    Add {
        /// The operator's name, which stands in every record of what they do
        name: String,
        /// What they may do
        #[arg(long, value_enum, default_value_t)]
        rank: RankOf,
        /// How long the token can be used
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        valid: Duration,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RankOf {
    Viewer,
    #[default]
    Operator,
    Admin,
}

#[derive(Debug, Args)]
pub(crate) struct Enroll {
    /// The token that `coordctl operator add` printed
    #[arg(long, env = "UNDERSTUDY_TOKEN", hide_env_values = true)]
    pub(crate) token: String,
}
