//! `cargo xtask demo`: builds the programs and shows them at work.

use crate::{SetupArgs, setup, setup::Need, shell};
use anyhow::{Result, bail};
use clap::Args;
use std::process::Command;

/// What the demo runs and what it needs built.
pub(crate) const PACKAGES: [&str; 8] =
    ["-p", "agent", "-p", "coordinator", "-p", "coordctl", "-p", "tests"];

/// How to show it.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The trading service runs in real containers instead of processes.
    #[arg(long)]
    docker: bool,
    /// Print one JSON object with the result as the last line.
    #[arg(long)]
    json: bool,
    /// Leave everything running afterwards, and say how to look and how to stop it.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    setup: SetupArgs,
}

/// Sets up what the demo needs, builds it, runs it.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let needs: &[Need] = if args.docker { &[Need::Libzmq, Need::Docker] } else { &[Need::Libzmq] };
    let missing = setup::run(args.setup, needs)?;
    if missing.contains(&Need::Libzmq) {
        bail!("the demo cannot be built without libzmq; run `cargo xtask setup`");
    }
    let mut build = shell::cargo(&["build", "--bins"]);
    shell::run(build.args(PACKAGES))?;

    let mut demo = Command::new(shell::target_dir()?.join("debug/understudy-demo"));
    for (wanted, flag) in [(args.docker, "--docker"), (args.json, "--json"), (args.keep, "--keep")]
    {
        if wanted {
            demo.arg(flag);
        }
    }
    shell::run(&mut demo)
}
