//! `understudy-agent emergency-stop`: what is typed, and what is shown.

use crate::{ConfigFile, runtime, say};
use agent::{
    config::Config,
    emergency::{self, Stopped, Stops},
    isolation::{Session, session::who},
};
use anyhow::bail;
use daemon::exit::Exit;
use model::GroupId;
use std::{collections::BTreeSet, io::Write};

#[derive(clap::Args)]
pub(crate) struct EmergencyStop {
    /// The group; every group of agent.toml without it.
    group: Option<GroupId>,
    /// Why; recorded.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Let it run again, when a lease says so.
    #[arg(long, conflicts_with_all = ["reason", "status"])]
    release: bool,
    /// Tell what is stopped.
    #[arg(long, conflicts_with = "reason")]
    status: bool,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub(crate) fn run(args: EmergencyStop) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config.config)?;
    let known: BTreeSet<GroupId> =
        config.services.iter().map(|service| service.group.clone()).collect();
    if let Some(group) = args.group.as_ref().filter(|group| !known.contains(*group)) {
        let known: Vec<&str> = known.iter().map(GroupId::as_str).collect();
        let known = known.join(", ");
        talk(&format!("agent.toml has no service of a group `{group}`; its groups: {known}"));
        return Ok(Exit::Usage);
    }
    if args.status {
        return status(&config, args.json);
    }
    if args.release {
        let was = Stops::release(&config.state_dir, args.group.as_ref())?;
        let was: Vec<&str> = was.iter().map(GroupId::as_str).collect();
        say(&match was.as_slice() {
            [] => "nothing was stopped".into(),
            some => format!("released: {}; it runs again when a lease says so", some.join(", ")),
        })?;
        return Ok(Exit::Done);
    }
    let groups = args.group.map_or(known, |group| [group].into());
    let session = Session::find();
    let by = who(session.as_ref());
    let stopping = emergency::stop(&config, &groups, &by, &args.reason);
    let stopped = runtime()?.block_on(stopping);
    show(&stopped, args.json)?;
    talk(
        "next: the same on every other host of the group, or `coordctl hold`; `understudy-agent \
         emergency-stop --release` lets it run again",
    );
    Ok(match (&stopped.durable, stopped.is_certain()) {
        (_, true) => Exit::Done,
        (Err(_), false) => Exit::NotDurable,
        (Ok(()), false) => Exit::Failed,
    })
}

/// stderr is talk.
fn talk(words: &str) {
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr(), "{words}");
}

fn status(config: &Config, json: bool) -> anyhow::Result<Exit> {
    let stops = Stops::load(&config.state_dir);
    if let Some(fault) = &stops.fault {
        bail!("everything counts as stopped: {fault}");
    }
    if json {
        say(&serde_json::to_string(&stops)?)?;
        return Ok(Exit::Done);
    }
    let lines: Vec<String> = stops
        .groups
        .keys()
        .filter_map(|group| Some(format!("{group}: {}", stops.why(group)?)))
        .collect();
    let words = if lines.is_empty() { "nothing is stopped".into() } else { lines.join("\n") };
    say(&words)?;
    Ok(Exit::Done)
}

fn show(stopped: &Stopped, json: bool) -> anyhow::Result<()> {
    if json {
        return say(&serde_json::to_string(stopped)?);
    }
    if let Err(error) = &stopped.durable {
        say(&format!("NOT SAVED, so it does not last over a restart: {error}"))?;
    }
    for (group, gate) in &stopped.gates {
        say(&format!("{group}: gate {gate}"))?;
    }
    if !stopped.gate_fault.is_empty() {
        say(&format!("the gate: {}", stopped.gate_fault))?;
    }
    for of in &stopped.services {
        let word = if of.stopped { "stopped" } else { "NOT CONFIRMED STOPPED" };
        say(&format!("{} ({}): {word}: {}", of.service, of.group, of.detail))?;
    }
    Ok(())
}
