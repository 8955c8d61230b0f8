//! The command line's words about moving groups, and about keeping them where they are.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Move {
    /// The group; may be left out when there is one
    pub(crate) group: Option<String>,
    /// The site that is to be active
    #[arg(long, value_name = "SITE")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) how: How,
    /// Accept this proof level instead of what the policy needs; audited
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..=5), requires = "reason")]
    pub(crate) accept_proof: Option<u32>,
    /// Why a lower proof level is acceptable
    #[arg(long, value_name = "TEXT", requires = "accept_proof")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Failback {
    /// The group; may be left out when there is one
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) how: How,
    /// Accept this proof level instead of what the policy needs; audited
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..=5), requires = "reason")]
    pub(crate) accept_proof: Option<u32>,
    /// Why a lower proof level is acceptable
    #[arg(long, value_name = "TEXT", requires = "accept_proof")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct How {
    /// Show the plan, the proof level reachable now and the bounds; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// The group; may be left out when there is one
    #[arg(conflicts_with = "all")]
    pub(crate) group: Option<String>,
    /// Every group
    #[arg(long)]
    pub(crate) all: bool,
    /// Why, for whoever looks next
    #[arg(long, value_name = "TEXT", default_value = "held by hand")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The group; may be left out when there is one
    #[arg(conflicts_with = "all")]
    pub(crate) group: Option<String>,
    /// Every group
    #[arg(long)]
    pub(crate) all: bool,
}
