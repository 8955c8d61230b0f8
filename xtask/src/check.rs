//! `cargo xtask test`: set up, then every check and every test.
//!
//! nextest runs last, so that its summary is the last line of the output.

use crate::{SetupArgs, demo, machine, setup, setup::Need, shell};
use anyhow::{Result, bail};
use clap::Args;

/// What to run, and what may be left out.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Nothing may be skipped: a test whose need is missing fails.
    #[arg(long)]
    require_all: bool,
    #[command(flatten)]
    setup: SetupArgs,
    /// Run only tests whose names hold one of these (and no other checks).
    filters: Vec<String>,
}

/// Runs the checks in the order in which they fail fastest.
pub(crate) fn run(args: &TestArgs) -> Result<()> {
    let missing = setup::run(args.setup, &setup::EVERYTHING)?;
    if missing.contains(&Need::Libzmq) || missing.contains(&Need::Nextest) {
        bail!("the tests cannot run without libzmq3-dev and cargo-nextest; see above");
    }
    if args.require_all && !missing.is_empty() {
        bail!("`--require-all` allows nothing to be left out, and the machine lacks the above");
    }
    let whole = args.filters.is_empty();
    if whole {
        shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]))?;
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        shell::run(&mut shell::cargo(&clippy))?;
        deny()?;
    }
    // The scenarios start the real programs, so these are built first.
    shell::run(shell::cargo(&["build", "--bins"]).args(demo::PACKAGES))?;
    if whole {
        shell::run(&mut shell::cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
    }
    let mut nextest = shell::cargo(&["nextest", "run", "--workspace"]);
    if args.require_all {
        nextest.env("UNDERSTUDY_REQUIRE_ALL", "1");
    }
    shell::run(nextest.args(&args.filters))
}

/// Bans and licences. The tidy test holds the same rules from `cargo metadata`;
/// cargo-deny says more, and takes minutes to install, so it is not required.
fn deny() -> Result<()> {
    if machine::has_deny() {
        return shell::run(&mut shell::cargo(&["deny", "check", "bans", "licenses", "sources"]));
    }
    eprintln!("cargo-deny is not installed: the tidy test alone checks bans and licences");
    Ok(())
}
