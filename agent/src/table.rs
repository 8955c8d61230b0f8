//! `understudy-agent gate ...`: the kernel gate's table, without the agent.

use crate::{ConfigFile, say};
use agent::{
    config::Config,
    gate::{
        self,
        command::{GateStatus, LoadOutcome},
    },
};
use clap::Subcommand;
use daemon::exit::Exit;

#[derive(Subcommand)]
pub(crate) enum GateCommand {
    /// Load the table closed (the boot does this, before Docker).
    Load(ConfigFile),
    /// Tell how the kernel has it.
    Status {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Remove the table: nothing is held back any more.
    Remove {
        /// Also while the agent runs, which puts it back.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
}

pub(crate) fn run(command: GateCommand) -> anyhow::Result<Exit> {
    match command {
        GateCommand::Load(file) => {
            let config = Config::load(&file.config)?;
            let table = &config.gate.table;
            say(&match gate::command::load(&config.gate, &config.services, &config.state_dir)? {
                LoadOutcome::Loaded => format!("loaded: table inet {table}, closed"),
                LoadOutcome::Disabled => "not loaded: [gate] enabled = false".into(),
                LoadOutcome::Kept => format!("the agent runs and keeps table inet {table}"),
            })?;
        }
        GateCommand::Status { json, config } => {
            let config = Config::load(&config.config)?;
            let status = gate::command::status(&config.gate, &config.services)?;
            say(&if json { serde_json::to_string(&status)? } else { in_words(&status) })?;
        }
        GateCommand::Remove { force, config } => {
            let config = Config::load(&config.config)?;
            let there = gate::command::remove(&config.gate, &config.state_dir, force)?;
            let done = if there { "removed" } else { "not there" };
            say(&format!("{done}: table inet {}", config.gate.table))?;
        }
    }
    Ok(Exit::Done)
}

fn in_words(status: &GateStatus) -> String {
    let loaded = match (status.loaded, status.enabled) {
        (true, _) => "loaded",
        (false, true) => "not loaded",
        (false, false) => "not loaded (switched off)",
    };
    let kept = if status.kept { "kept by the running agent" } else { "no agent keeps it" };
    let mut words = format!("table inet {}: {loaded}, {kept}", status.table);
    for of in &status.groups {
        let left = match of.open_for_ms {
            0 => String::new(),
            left => format!(" for {left} ms"),
        };
        let (group, gate, dropped) = (&of.group, of.gate, of.dropped_packets);
        words.push_str(&format!("\n{group}: {gate}{left}, {dropped} packet(s) dropped"));
    }
    words
}
