//! `understudy-agent evidence ...`: what is typed, and what is shown.

use crate::{ConfigFile, say};
use agent::{
    config::Config,
    evidence::{Collector, EvidenceError},
};
use anyhow::Context;
use certs::Trust;
use clap::Subcommand;
use daemon::exit::Exit;
use model::evidence::Manifest;
use std::{
    fs::OpenOptions,
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

/// The weakest claim to the processor: what still trades goes first.
const NICE: i32 = 19;

#[derive(Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Collect what shows what happened here, sealed, to stdout; changes nothing.
    Collect {
        /// Into this file, which must not be there, instead of to stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Also the output of this [[evidence.command]]; may be repeated.
        #[arg(long, value_name = "NAME")]
        with: Vec<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Keep the digests, modes and owners of the declared trees, to compare with later.
    Baseline {
        /// To stdout, and keep nothing here.
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
}

pub(crate) fn run(command: &EvidenceCommand) -> anyhow::Result<Exit> {
    let (EvidenceCommand::Collect { config, .. } | EvidenceCommand::Baseline { config, .. }) =
        command;
    let config = Config::load(&config.config)?;
    // Refused where that is not allowed, and then it is only less polite.
    let _ = rustix::process::setpriority_process(None, NICE);
    let collector = |with| Collector {
        host: &config.host,
        state_dir: &config.state_dir,
        config: &config.evidence,
        with,
    };
    match command {
        EvidenceCommand::Collect { out, with, .. } => {
            let trust = Trust::load(config.pki())
                .map_err(|error| anyhow::anyhow!("{}", certs::explain(&error)))?;
            let manifest = match out {
                Some(path) => {
                    let mut options = OpenOptions::new();
                    let made = options.write(true).create_new(true).mode(0o600).open(path);
                    let file = made.with_context(|| format!("making {}", path.display()))?;
                    collector(with).collect(&trust, &file)?
                }
                None if io::stdout().is_terminal() => {
                    talk("an archive is nothing for a terminal: use --out FILE, or a pipe");
                    return Ok(Exit::Usage);
                }
                None => collector(with).collect(&trust, io::stdout().lock())?,
            };
            talk(&told(&manifest));
        }
        EvidenceCommand::Baseline { print: true, .. } => {
            collector(&[]).listing(&mut io::stdout().lock())?;
        }
        EvidenceCommand::Baseline { print: false, .. } => {
            let (path, digest) = collector(&[]).keep_baseline()?;
            say(&format!("kept: {}\nSHA-256 {digest}", path.display()))?;
            talk("keep that digest, or better the listing itself, away from this host");
        }
    }
    Ok(Exit::Done)
}

/// stderr is talk: stdout may be the archive.
fn talk(words: &str) {
    // Nobody may be left to read it.
    let _ = writeln!(io::stderr(), "{words}");
}

fn told(manifest: &Manifest) -> String {
    let bytes: u64 = manifest.items.iter().map(|item| item.bytes).sum();
    let cut = manifest.items.iter().filter(|item| !item.cut.is_empty()).count();
    let end = match manifest.cut.as_str() {
        "" => String::new(),
        why => format!("; CUT SHORT: {why}"),
    };
    format!(
        "{} items, {bytes} bytes, {cut} of them not there or not whole (the manifest says why){end}",
        manifest.items.len()
    )
}

/// What an evidence's failure means as an exit code.
pub(crate) fn exit_of(error: &EvidenceError) -> Exit {
    match error {
        EvidenceError::NoCommand { .. } | EvidenceError::NoTrees => Exit::Usage,
        EvidenceError::Listing(_) | EvidenceError::End(_) | EvidenceError::Write(_) => Exit::Failed,
        EvidenceError::Keep(_) => Exit::NotDurable,
    }
}
