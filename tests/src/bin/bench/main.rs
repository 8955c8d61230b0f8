//! `understudy-bench`: the figures, measured on the real programs.
//!
//! `cargo xtask bench NAME` builds and calls it. Prints configuration, trials,
//! minimum, median, 99th percentile, maximum and the machine's load.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measuring program for a terminal: figures on stdout, talk on stderr"
)]

mod agent;
mod backup;
mod consensus;
mod demo;
mod lab;

use anyhow::Result;
use clap::{Args as ClapArgs, Parser, ValueEnum};
use serde_json::{Value, json};
use std::process::ExitCode;
use tests::{lab::fault::Fault, stats};

/// Measures one of the figures.
#[derive(Debug, Parser)]
#[command(name = "understudy-bench")]
struct Args {
    /// Which.
    #[arg(value_enum)]
    name: Name,
    /// How often; each benchmark has its own default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    trials: Option<u32>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    lab: LabArgs,
}

/// What the benchmarks in the lab may differ in.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct LabArgs {
    /// The lease T.
    #[arg(long, default_value = "2s")]
    pub(crate) lease: String,
    /// How long a host stays lost before a failover; the group's default when absent.
    #[arg(long)]
    pub(crate) dwell: Option<String>,
    /// How the trader waits on a standby.
    #[arg(long, value_enum, default_value_t = StandbyWord::Stopped)]
    pub(crate) standby: StandbyWord,
    /// Only this fault, where a benchmark has several.
    #[arg(long, value_enum)]
    pub(crate) fault: Option<Fault>,
    /// The agents keep a kernel gate.
    #[arg(long)]
    pub(crate) gate: bool,
    /// The proof that an automatic failover needs.
    #[arg(long, default_value_t = 1)]
    pub(crate) needs: u8,
    /// The trader is a process instead of a container.
    #[arg(long)]
    pub(crate) process: bool,
}

/// How a service waits on a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StandbyWord {
    /// Not running.
    Stopped,
    /// Running behind the closed gate.
    Gated,
}

impl StandbyWord {
    /// The word in agent.toml.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Gated => "gated",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
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
}

/// One benchmark's result: what was configured and what was measured.
pub(crate) struct Measured {
    pub(crate) configuration: Value,
    /// Name (with its unit) and figures.
    pub(crate) figures: Vec<(String, stats::Figures)>,
    /// Name of the figure that has a goal, the goal, and whether it was reached
    /// by the value that the goal is about.
    pub(crate) goals: Vec<(String, String, bool)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("understudy-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let before = stats::load_average()?;
    let trials = args.trials.unwrap_or(20);
    let (word, measured) = match args.name {
        Name::Consensus => ("consensus", consensus::measure(trials)?),
        Name::Agent => ("agent", agent::measure(args.trials.unwrap_or(10))?),
        Name::Demo => ("demo", demo::measure(args.trials.unwrap_or(3))?),
        Name::Failover => ("failover", lab::failover(trials, &args.lab)?),
        Name::Switchover => ("switchover", lab::switchover(trials, &args.lab)?),
        Name::DualActive => ("dual-active", lab::dual_active(trials, &args.lab)?),
        Name::Detection => ("detection", lab::detection(trials, &args.lab)?),
        Name::Backup => ("backup", backup::measure(args.trials.unwrap_or(3))?),
    };
    let after = stats::load_average()?;
    print(args.json, word, &measured, before, after);
    Ok(())
}

fn print(as_json: bool, word: &str, measured: &Measured, before: [f64; 3], after: [f64; 3]) {
    if as_json {
        let figures: serde_json::Map<String, Value> =
            measured.figures.iter().map(|(name, of)| (name.clone(), of.json())).collect();
        let goals: Vec<Value> = measured
            .goals
            .iter()
            .map(|(figure, goal, reached)| {
                json!({"figure": figure, "goal": goal, "reached": reached})
            })
            .collect();
        let all = json!({
            "bench": word,
            "configuration": measured.configuration,
            "figures": figures,
            "goals": goals,
            "load_average_before": before,
            "load_average_after": after,
        });
        println!("{all}");
        return;
    }
    println!("{word}: {}", measured.configuration);
    println!("{:<34}{:>7}{:>10}{:>10}{:>10}{:>10}", "", "trials", "min", "p50", "p99", "max");
    for (name, of) in &measured.figures {
        println!(
            "{name:<34}{:>7}{:>10.2}{:>10.2}{:>10.2}{:>10.2}",
            of.trials, of.min, of.p50, of.p99, of.max
        );
    }
    for (figure, goal, reached) in &measured.goals {
        println!("{figure}: goal {goal}: {}", if *reached { "reached" } else { "MISSED" });
    }
    println!("load average before {before:?}, after {after:?}");
}
