//! `cargo xtask bench NAME`: builds what a benchmark measures, and runs it.
//!
//! The measuring itself is `understudy-bench` in the `tests` crate.

use crate::{SetupArgs, demo, setup, setup::Need, shell};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::process::Command;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The figure.
    #[arg(value_enum)]
    name: Bench,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
    /// How often; each benchmark has its own default.
    #[arg(long)]
    trials: Option<u32>,
    #[command(flatten)]
    setup: SetupArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Leader loss to the new leader's first committed record.
    Consensus,
    /// Resident memory and CPU of the agent, at rest and under the demo's load.
    Agent,
    /// Wall time of the demo once built.
    Demo,
}

impl Bench {
    /// The profile it is measured in. The demo is what `cargo xtask demo`
    /// runs, and that is the dev profile.
    const fn profile(self) -> (&'static str, &'static str) {
        match self {
            Self::Consensus | Self::Agent => ("release", "release"),
            Self::Demo => ("dev", "debug"),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Agent => "agent",
            Self::Demo => "demo",
        }
    }
}

/// Builds in the benchmark's profile and runs it.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    if setup::run(args.setup, &[Need::Libzmq])?.contains(&Need::Libzmq) {
        bail!("nothing can be measured without libzmq; run `cargo xtask setup`");
    }
    let (profile, folder) = args.name.profile();
    let mut build = shell::cargo(&["build", "--bins", "--profile", profile]);
    shell::run(build.args(demo::PACKAGES))?;
    let mut bench = Command::new(shell::target_dir()?.join(folder).join("understudy-bench"));
    bench.arg(args.name.word());
    if args.json {
        bench.arg("--json");
    }
    if let Some(trials) = args.trials {
        bench.arg("--trials").arg(trials.to_string());
    }
    shell::run(&mut bench)
}
