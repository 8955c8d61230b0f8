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
mod consensus;
mod demo;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use std::process::ExitCode;
use tests::stats;

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Leader loss to the new leader's first committed record.
    Consensus,
    /// Resident memory and CPU of the agent, at rest and under the demo's load.
    Agent,
    /// Wall time of the demo once built.
    Demo,
}

/// One benchmark's result: what was configured and what was measured.
pub(crate) struct Measured {
    pub(crate) configuration: Value,
    /// Name (with its unit) and figures.
    pub(crate) figures: Vec<(&'static str, stats::Figures)>,
    /// Name of the figure that has a goal, the goal, and whether it was reached
    /// by the value that the goal is about.
    pub(crate) goals: Vec<(&'static str, String, bool)>,
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
    let (word, measured) = match args.name {
        Name::Consensus => ("consensus", consensus::measure(args.trials.unwrap_or(20))?),
        Name::Agent => ("agent", agent::measure(args.trials.unwrap_or(10))?),
        Name::Demo => ("demo", demo::measure(args.trials.unwrap_or(3))?),
    };
    let after = stats::load_average()?;
    print(args.json, word, &measured, before, after);
    Ok(())
}

fn print(as_json: bool, word: &str, measured: &Measured, before: [f64; 3], after: [f64; 3]) {
    if as_json {
        let figures: serde_json::Map<String, Value> =
            measured.figures.iter().map(|(name, of)| ((*name).to_owned(), of.json())).collect();
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
