//! `cargo xtask bench simulate` and `bench partitions`: builds the simulation
//! for speed and runs it.

use crate::shell;
use anyhow::Result;
use clap::Args;
use std::{path::PathBuf, process::Command};

/// Seeds played when none are asked for: what CI plays.
const SEEDS: u64 = 20_000;
/// Patterns of each phase when no end is given: what a few minutes allow.
const PATTERNS: u32 = 16_384;
/// The phases, as `understudy-sim` knows them.
const PHASES: [&str; 3] = ["steady", "failover", "failback"];

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// simulate: how many seeds.
    #[arg(long)]
    seeds: Option<u64>,
    /// simulate: the first seed; alone, the story of that one run.
    #[arg(long)]
    seed: Option<u64>,
    /// partitions: steady, failover or failback; all three without it.
    #[arg(long)]
    phase: Option<String>,
    /// partitions: the first pattern.
    #[arg(long)]
    from: Option<u32>,
    /// partitions: the one after the last, 1048576 for all.
    #[arg(long)]
    to: Option<u32>,
    /// partitions: the progress file, one a phase; a run with it goes on where it ended.
    #[arg(long)]
    state: Option<PathBuf>,
}

fn program() -> Result<Command> {
    shell::run(&mut shell::cargo(&["build", "--release", "-p", "simulation"]))?;
    Ok(Command::new(shell::target_dir()?.join("release/understudy-sim")))
}

/// Plays seeds.
pub(crate) fn seeds(args: &SimulateArgs, json: bool) -> Result<()> {
    let mut program = program()?;
    program.arg("--seed").arg(args.seed.unwrap_or(0).to_string());
    if args.seeds.is_some() || args.seed.is_none() {
        program.arg("--seeds").arg(args.seeds.unwrap_or(SEEDS).to_string());
    }
    if json {
        program.arg("--json");
    }
    shell::run(&mut program)
}

/// Plays cut patterns.
pub(crate) fn partitions(args: &SimulateArgs, json: bool) -> Result<()> {
    let phases = match &args.phase {
        Some(phase) => vec![phase.as_str()],
        None => PHASES.to_vec(),
    };
    for phase in phases {
        let mut program = program()?;
        program.args(["partitions", "--phase", phase]);
        program.arg("--from").arg(args.from.unwrap_or(0).to_string());
        program.arg("--to").arg(args.to.unwrap_or(PATTERNS).to_string());
        if let Some(state) = &args.state {
            let one =
                if args.phase.is_some() { state.clone() } else { state.with_extension(phase) };
            program.arg("--state").arg(one);
        }
        if json {
            program.arg("--json");
        }
        shell::run(&mut program)?;
    }
    Ok(())
}
