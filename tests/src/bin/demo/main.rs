//! `understudy-demo`: the product's main job, shown on loopback.
//!
//! Three coordinators, two agents, a publisher of ticks as the trading service;
//! the primary dies, the standby goes on. `cargo xtask demo` builds and calls it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a show for a terminal: the result on stdout, the talk on stderr with --json"
)]

mod outcome;
mod stage;
mod story;

use anyhow::{Context, Result};
use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use tests::{containers, process, webhook};

/// Three coordinators, two agents, ticks; the primary dies, the standby goes on.
#[derive(Debug, Parser)]
#[command(name = "understudy-demo")]
struct Args {
    /// The trading service runs in real containers instead of processes.
    #[arg(long)]
    docker: bool,
    /// Print one JSON object with the result as the last line.
    #[arg(long)]
    json: bool,
    /// Leave everything running afterwards, and say how to look and how to stop it.
    #[arg(long)]
    keep: bool,
    /// End what an earlier `--keep` left running in this folder, and remove it.
    #[arg(long, value_name = "FOLDER")]
    stop: Option<PathBuf>,
    /// Only receive notifications on this port (the demo's own helper).
    #[arg(long, hide = true, requires = "accepted")]
    serve_webhook: Option<u16>,
    /// Where received notifications are written.
    #[arg(long, hide = true)]
    accepted: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match (&args.stop, args.serve_webhook, &args.accepted) {
        (Some(folder), _, _) => stop(folder),
        (None, Some(port), Some(file)) => webhook::serve(port, file),
        (None, _, _) => return show(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("understudy-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Shows it, and prints the result whether it went well or not.
fn show(args: &Args) -> ExitCode {
    let stage = stage::Stage::new(args.json);
    let mut outcome = outcome::Outcome::default();
    let played = story::play(&stage, args.docker, args.keep, &mut outcome);
    if let Err(error) = &played
        && outcome.group.is_none()
    {
        // Nothing was raised: the story had no chance to say it.
        stage.say(&format!("FAILED: {error:#}"));
    }
    outcome.ok = played.is_ok();
    if args.json {
        println!("{}", outcome.json());
    } else {
        println!("\n{}", outcome.words());
    }
    if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn stop(folder: &std::path::Path) -> Result<()> {
    let folder = folder
        .canonicalize()
        .with_context(|| format!("{} is not there; was it stopped already?", folder.display()))?;
    // Only a folder that a demo made has both.
    anyhow::ensure!(
        folder.join("dns-hook").is_file() && folder.join("groups/fx.toml").is_file(),
        "{} is not a demo's folder",
        folder.display()
    );
    process::sweep(&folder)?;
    if containers::available().is_ok() {
        containers::remove(&folder)?;
    }
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("could not remove {}", folder.display()))?;
    println!("stopped, and {} is gone", folder.display());
    Ok(())
}
