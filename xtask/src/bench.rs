//! `cargo xtask bench NAME`: builds what a benchmark measures, and runs it.
//!
//! The measuring itself is `understudy-bench` in the `tests` crate.

use crate::{
    SetupArgs, demo, setup,
    setup::Need,
    shell,
    simulate::{self, SimulateArgs},
};
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
    /// Lab: the lease T (default 2s).
    #[arg(long)]
    lease: Option<String>,
    /// Lab: how long a host stays lost before a failover.
    #[arg(long)]
    dwell: Option<String>,
    /// Lab: `stopped` (default) or `gated`.
    #[arg(long)]
    standby: Option<String>,
    /// Lab: only this fault: kill, cut, cut-coordinators, cut-out, cut-in,
    /// agent, freeze, trader, dockerd.
    #[arg(long)]
    fault: Option<String>,
    /// Lab: the agents keep a kernel gate.
    #[arg(long)]
    gate: bool,
    /// Lab: the proof that an automatic failover needs (default 1).
    #[arg(long)]
    needs: Option<u8>,
    /// Lab: the trader is a process instead of a container.
    #[arg(long)]
    process: bool,
    #[command(flatten)]
    simulate: SimulateArgs,
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
    /// Unplanned loss of the active host to the first order from the other site.
    Failover,
    /// Silence at the venue in a planned move.
    Switchover,
    /// How long two sites are heard at once, for every fault.
    DualActive,
    /// Container death to the coordinators' view.
    Detection,
    /// Backups beside restic's, and beside tar, zstd and openssl.
    Backup,
    /// Seeds of the simulation: violations, seeds a second.
    Simulate,
    /// Cut patterns between five nodes, in three phases.
    Partitions,
}

impl Bench {
    /// The profile it is measured in. The demo is what `cargo xtask demo`
    /// runs, and that is the dev profile.
    const fn profile(self) -> (&'static str, &'static str) {
        match self {
            Self::Consensus
            | Self::Agent
            | Self::Failover
            | Self::Switchover
            | Self::DualActive
            | Self::Detection
            | Self::Backup
            | Self::Simulate
            | Self::Partitions => ("release", "release"),
            Self::Demo => ("dev", "debug"),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Agent => "agent",
            Self::Demo => "demo",
            Self::Failover => "failover",
            Self::Switchover => "switchover",
            Self::DualActive => "dual-active",
            Self::Detection => "detection",
            Self::Backup => "backup",
            Self::Simulate => "simulate",
            Self::Partitions => "partitions",
        }
    }

    /// What it needs of the machine.
    const fn needs(self) -> &'static [Need] {
        match self {
            Self::Consensus | Self::Agent | Self::Demo | Self::Simulate | Self::Partitions => {
                &[Need::Libzmq]
            }
            Self::Backup => &[Need::Libzmq, Need::Restic, Need::Archivers],
            Self::Failover | Self::Switchover | Self::DualActive | Self::Detection => {
                &[Need::Libzmq, Need::Lab]
            }
        }
    }
}

/// Builds in the benchmark's profile and runs it.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    if !setup::run(args.setup, args.name.needs())?.is_empty() {
        bail!("it cannot be measured without the above; run `cargo xtask setup`");
    }
    match args.name {
        Bench::Simulate => return simulate::seeds(&args.simulate, args.json),
        Bench::Partitions => return simulate::partitions(&args.simulate, args.json),
        Bench::Consensus
        | Bench::Agent
        | Bench::Demo
        | Bench::Failover
        | Bench::Switchover
        | Bench::DualActive
        | Bench::Detection
        | Bench::Backup => {}
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
    let words = [
        ("--lease", &args.lease),
        ("--dwell", &args.dwell),
        ("--standby", &args.standby),
        ("--fault", &args.fault),
        ("--needs", &args.needs.map(|level| level.to_string())),
    ];
    for (flag, value) in words {
        if let Some(value) = value {
            bench.arg(flag).arg(value);
        }
    }
    for (flag, wanted) in [("--gate", args.gate), ("--process", args.process)] {
        if wanted {
            bench.arg(flag);
        }
    }
    shell::run(&mut bench)
}
