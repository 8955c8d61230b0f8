//! `understudy-agent isolate ...`: what is typed, and what is shown.

use crate::{ConfigFile, runtime, say};
use agent::{
    config::Config,
    gate,
    isolation::{
        Begun, Host, IsolationError, Kept, Network, Order, Profile, Proof, Session, Status,
        container::{self, DetachError},
        session::who,
    },
};
use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use daemon::{config::Span, exit::Exit};
use model::GateState;
use std::{io::Write, path::PathBuf};

#[derive(Subcommand)]
pub(crate) enum IsolateCommand {
    /// Cut this host off, but for its administrators and coordinators.
    On {
        /// What is cut.
        #[arg(long, value_enum, default_value_t = ProfileWord::Breach)]
        profile: ProfileWord,
        /// When it ends, whatever happens: 30min, 12h. Otherwise not by itself.
        #[arg(long = "for", value_name = "DURATION")]
        span: Option<Span>,
        /// Why; recorded.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// An administrator's address or network beside those of agent.toml.
        #[arg(long = "admin", value_name = "ADDRESS")]
        administrators: Vec<Network>,
        /// Also where no administrator would reach this host any more.
        #[arg(long, requires = "reason")]
        force: bool,
        #[command(flatten)]
        output: Output,
    },
    /// End it: everything is as it was before.
    Off {
        /// Why; recorded.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        #[command(flatten)]
        output: Output,
    },
    /// Keep it from reverting; from an SSH connection that began after it.
    Confirm {
        /// Without that proof.
        #[arg(long, requires = "reason")]
        force: bool,
        /// Why; recorded.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        #[command(flatten)]
        output: Output,
    },
    /// Tell how it stands.
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// Detach one container from its networks, or attach it again as it was.
    Container {
        /// Its name.
        name: String,
        /// Attach it again to what it was attached to.
        #[arg(long, conflicts_with = "reason")]
        release: bool,
        /// Why; recorded.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// The Engine's socket.
        #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock")]
        socket: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Load what is saved (the boot does this, before networking).
    Load {
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(clap::Args)]
pub(crate) struct Output {
    /// As one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ProfileWord {
    /// Everything, in both directions.
    Breach,
    /// What this host and its containers begin themselves.
    EgressBlock,
}

impl From<ProfileWord> for Profile {
    fn from(word: ProfileWord) -> Self {
        match word {
            ProfileWord::Breach => Self::Breach,
            ProfileWord::EgressBlock => Self::EgressBlock,
        }
    }
}

/// The exit code of an isolation's error.
pub(crate) const fn exit_of(error: &IsolationError) -> Exit {
    match error {
        IsolationError::NoReason | IsolationError::TooLong => Exit::Usage,
        IsolationError::Saved(_) => Exit::NotDurable,
        IsolationError::NobodyLeft
        | IsolationError::NotRemote
        | IsolationError::NotIsolated
        | IsolationError::NotFresh(_) => Exit::Refused,
        IsolationError::Busy | IsolationError::Nft(_) | IsolationError::Kernel(_) => Exit::Failed,
    }
}

/// The exit code of a container's error.
pub(crate) const fn exit_of_container(error: &DetachError) -> Exit {
    match error {
        DetachError::NoNetwork(_) | DetachError::NotDetached(_) | DetachError::Another { .. } => {
            Exit::Refused
        }
        DetachError::Silent { .. } => Exit::Unreachable,
        DetachError::Saved(_) => Exit::NotDurable,
        DetachError::Docker { .. } => Exit::Failed,
    }
}

/// stderr is talk.
fn talk(words: &str) {
    // Nobody is left to be told that nobody reads this.
    let _ = writeln!(std::io::stderr(), "{words}");
}

pub(crate) fn run(command: IsolateCommand) -> anyhow::Result<Exit> {
    let session = Session::find();
    let by = who(session.as_ref());
    match command {
        IsolateCommand::On { profile, span, reason, administrators, force, output } => {
            let config = Config::load(&output.config.config)?;
            let (profile, span) = (profile.into(), span.map(Span::duration));
            let order = Order { profile, span, reason, by, session, administrators, force };
            let begun = Host::of(&config).on(&order)?;
            tell(&config, &begun);
            show(&begun.status, output.json)?;
        }
        IsolateCommand::Off { reason, output } => {
            let host = Host::of(&Config::load(&output.config.config)?);
            let there = host.off(&by, &reason)?;
            talk(if there { "released: all is as it was before" } else { "nothing to release" });
            show(&host.status()?, output.json)?;
        }
        IsolateCommand::Confirm { force, reason, output } => {
            let host = Host::of(&Config::load(&output.config.config)?);
            let proof = if force { Proof::Forced(reason) } else { Proof::Ssh(session) };
            let status = host.confirm(&by, &proof)?;
            show(&status, output.json)?;
        }
        IsolateCommand::Status { output } => {
            let host = Host::of(&Config::load(&output.config.config)?);
            show(&host.status()?, output.json)?;
        }
        IsolateCommand::Container { name, release: true, socket, config, .. } => {
            let state_dir = Config::load(&config.config)?.state_dir;
            let attaching = container::attach(&state_dir, &socket, &name);
            let (networks, notes) = runtime()?.block_on(attaching)?;
            notes.iter().for_each(|note| talk(note));
            say(&format!("{name} is attached again to: {}", networks.join(", ")))?;
        }
        IsolateCommand::Container { name, reason, socket, config, .. } => {
            let state_dir = Config::load(&config.config)?.state_dir;
            let detaching = container::detach(&state_dir, &socket, &name, (&by, &reason));
            let networks = runtime()?.block_on(detaching)?;
            say(&format!("{name} is detached from: {}", networks.join(", ")))?;
        }
        IsolateCommand::Load { config } => {
            let host = Host::of(&Config::load(&config.config)?);
            let table = host.table().to_owned();
            say(&match host.keep()? {
                Kept::Nothing => "not isolated".into(),
                Kept::Standing => format!("isolated: table inet {table} is there"),
                Kept::Loaded => format!("isolated: table inet {table} was loaded"),
                Kept::Ended => "not isolated: its time is over".into(),
                Kept::Removed => format!("not isolated: a leftover table inet {table} was removed"),
            })?;
        }
    }
    Ok(Exit::Done)
}

/// What follows from it, and what to do next.
fn tell(config: &Config, begun: &Begun) {
    if begun.already {
        talk("it is isolated already, in the same profile; nothing was changed");
    }
    for note in &begun.notes {
        talk(note);
    }
    let active = gate::command::status(&config.gate, &config.services);
    let open = active.iter().flat_map(|status| &status.groups);
    for of in open.filter(|of| of.gate == GateState::Open) {
        let group = &of.group;
        talk(&match begun.status.profile {
            Some(Profile::Breach) => format!(
                "group {group} is active here: the agent stops its services and gives up the \
                 lease; see `coordctl status {group}`"
            ),
            Some(Profile::EgressBlock) | None => format!(
                "group {group} is active here and stays so, without a way to its venue; move it \
                 with `coordctl failover {group} --to SITE`"
            ),
        });
    }
    if !begun.status.confirmed {
        talk(
            "next: log in anew, by a new SSH connection, and type `understudy-agent isolate \
             confirm` there; without that it reverts by itself",
        );
    }
}

fn show(status: &Status, json: bool) -> anyhow::Result<()> {
    if json {
        return say(&serde_json::to_string(status).context("writing the status as JSON")?);
    }
    say(&in_words(status))
}

fn in_words(status: &Status) -> String {
    let Some(profile) = status.profile else {
        return match status.isolated {
            false => format!("not isolated{}", last(status)),
            true => format!(
                "isolated by a leftover table inet {}; `understudy-agent isolate off` removes it",
                status.table
            ),
        };
    };
    let mut words = match status.isolated {
        true => format!("isolated: {profile}, by {}", status.by),
        false => format!(
            "to be isolated ({profile}), and its table is not there: `understudy-agent isolate load`"
        ),
    };
    if !status.reason.is_empty() {
        words.push_str(&format!(" ({})", status.reason));
    }
    let left = status.left_ms.map(|left| Span::from_secs(left.div_ceil(1000)));
    words.push_str(&match (status.confirmed, left) {
        (true, None) => "\nconfirmed; until it is released".into(),
        (true, Some(left)) => format!("\nconfirmed; ends in {left}"),
        (false, Some(left)) => format!("\nnot confirmed: reverts in {left}"),
        (false, None) => "\nnot confirmed".into(),
    });
    let list = |of: &[String]| if of.is_empty() { "nobody".into() } else { of.join(", ") };
    words.push_str(&format!("\nadministrators: {}", list(&status.administrators)));
    words.push_str(&format!("\nmay go to: {}", list(&status.destinations)));
    let dropped = &status.dropped;
    words.push_str(&format!(
        "\ndropped packets: {} in, {} out, {} forwarded",
        dropped.inbound, dropped.outbound, dropped.forwarded
    ));
    words
}

fn last(status: &Status) -> String {
    if status.last.is_empty() { String::new() } else { format!("; last: {}", status.last) }
}
