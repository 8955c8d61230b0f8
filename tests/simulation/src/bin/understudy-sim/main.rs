//! `understudy-sim`: runs of the simulation, by seed or by cut pattern.
//!
//! With `--seed` alone it tells the whole story of one run; with `--seeds` it
//! plays many and prints figures. `cargo xtask bench simulate` and `bench
//! partitions` call it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal: figures on stdout, talk on stderr"
)]

mod partitions;
mod seeds;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::{fs, process::ExitCode};

/// Plays runs of the simulation.
#[derive(Debug, Parser)]
#[command(name = "understudy-sim", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    seeds: Seeds,
    #[command(subcommand)]
    what: Option<What>,
}

/// Which seeds.
#[derive(Debug, Args)]
struct Seeds {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many; without it the one run is told as a timeline.
    #[arg(long)]
    seeds: Option<u64>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every directed cut pattern between the five nodes, over one phase.
    Partitions(partitions::Wanted),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let kept = match &cli.what {
        Some(What::Partitions(wanted)) => partitions::run(wanted),
        None => run(&cli.seeds),
    };
    match kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("understudy-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(seeds: &Seeds) -> Result<bool> {
    match seeds.seeds {
        None => seeds::one(seeds.seed),
        Some(count) => seeds::many(seeds.seed, count, seeds.json),
    }
}

/// The machine's load, for whoever compares figures.
fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
