//! Shell completions and man pages, made from the command line's own types.

use crate::{
    cli::Cli,
    end::{End, Failure},
    out::Out,
};
use anyhow::Context as _;
use clap::CommandFactory;
use std::path::Path;

pub(crate) fn completions(shell: clap_complete::Shell, out: Out) -> Result<End, Failure> {
    // Into memory first: the generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "coordctl", &mut script);
    out.data(&String::from_utf8_lossy(&script))?;
    Ok(End::DONE)
}

pub(crate) fn man(dir: &Path, out: Out) -> Result<End, Failure> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write man pages into {}", dir.display()))?;
    out.talk(&format!("man pages are in {}", dir.display()));
    Ok(End::DONE)
}
