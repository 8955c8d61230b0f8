//! `cargo xtask`: every habit of the developer in one place.
//!
//! Sets a machine up, and runs the demo, the tests and the benchmarks. What
//! they do is in the `tests` crate; this crate only calls, and needs no system
//! library itself, because it is what installs them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for a developer's terminal: data on stdout, talk on stderr"
)]

mod bench;
mod check;
mod demo;
mod docker;
mod machine;
mod setup;
mod shell;
mod simulate;

use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

/// The habits of a developer of Understudy.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    habit: Habit,
}

#[derive(Debug, Subcommand)]
enum Habit {
    /// Install what the demo and the tests need and this machine lacks.
    Setup(SetupArgs),
    /// Show it: three coordinators, two agents, ticks; the primary dies, the standby goes on.
    Demo(demo::DemoArgs),
    /// Set up and run every check and test; nextest's summary is the last line.
    Test(check::TestArgs),
    /// Measure one of the figures on release builds.
    Bench(bench::BenchArgs),
}

/// Whether this machine may be changed.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct SetupArgs {
    /// Install nothing: only say what is missing and what therefore cannot run.
    #[arg(long)]
    pub(crate) no_install: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().habit {
        Habit::Setup(args) => setup::run(args, &setup::EVERYTHING).map(|_| ()),
        Habit::Demo(args) => demo::run(&args),
        Habit::Test(args) => check::run(&args),
        Habit::Bench(args) => bench::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
