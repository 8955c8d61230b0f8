//! `understudy-coordinator`: run, enroll, check, explain.

use clap::{Parser, Subcommand};
use coordinator::{config::Config, consensus, enroll, explain, run};
use daemon::{config::ConfigError, durable::DurableError, exit::Exit, shutdown, telemetry};
use model::IncidentId;
use std::{io::Write, path::PathBuf};

/// Understudy's coordinator and witness.
#[derive(Parser)]
#[command(name = "understudy-coordinator", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run until SIGTERM.
    Run {
        /// The configuration file.
        #[arg(long, default_value = "/etc/understudy/coordinator.toml")]
        config: PathBuf,
        /// Log as JSON, one object a line.
        #[arg(long)]
        log_json: bool,
    },
    /// Get this coordinator's identity with a join token (`coordctl token create`).
    Enroll {
        /// The token.
        #[arg(long, env = "UNDERSTUDY_TOKEN", hide_env_values = true)]
        token: String,
        /// The configuration file.
        #[arg(long, default_value = "/etc/understudy/coordinator.toml")]
        config: PathBuf,
    },
    /// Check the configuration file and say what is wrong with it.
    Check {
        /// The configuration file.
        #[arg(long, default_value = "/etc/understudy/coordinator.toml")]
        config: PathBuf,
    },
    /// Why it did, or did not: from a copy of the journal, without a running cluster.
    Explain {
        /// The configuration file, which says where the journal is.
        #[arg(long, default_value = "/etc/understudy/coordinator.toml")]
        config: PathBuf,
        /// The directory with the journal; no configuration is read then.
        #[arg(long, value_name = "DIR", conflicts_with = "config")]
        state_dir: Option<PathBuf>,
        /// The group; may be left out when there is one.
        group: Option<String>,
        /// The newest N decisions, those to do nothing among them.
        #[arg(long, value_name = "N", default_value_t = 1)]
        last: usize,
        /// What this incident was opened for.
        #[arg(long, value_name = "ID", conflicts_with_all = ["last", "group"])]
        incident: Option<u64>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> Exit {
    // The only provider; a second call would mean that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    match carry_out(cli.verb) {
        Ok(exit) => exit,
        Err(error) => {
            say(&format!("understudy-coordinator: {error:#}"));
            exit_of(&error)
        }
    }
}

fn exit_of(error: &anyhow::Error) -> Exit {
    if error.chain().any(|cause| cause.is::<ConfigError>()) {
        Exit::Usage
    } else if error.chain().any(|cause| cause.is::<DurableError>()) {
        Exit::NotDurable
    } else {
        Exit::Failed
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

fn carry_out(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Check { config } => {
            let loaded = Config::load(&config)?;
            coordinator::outbound::notify::Channels::from_config(&loaded.notify)?;
            say(&format!("{} is sound", config.display()));
            Ok(Exit::Done)
        }
        Verb::Explain { config, state_dir, group, last, incident, json } => {
            let directory = match state_dir {
                Some(directory) => directory,
                None => Config::load(&config)?.state_dir,
            };
            let asked = explain::Asked { group, last, incident: incident.map(IncidentId) };
            let reply = explain::offline(&directory, &asked)?;
            let text = match json {
                true => serde_json::to_string_pretty(&reply)?,
                false => explain::words(&reply),
            };
            writeln!(std::io::stdout(), "{text}")?;
            Ok(Exit::Done)
        }
        Verb::Enroll { token, config } => {
            let loaded = Config::load(&config)?;
            runtime()?.block_on(enroll::enroll(&loaded, token.trim()))?;
            say(&format!(
                "{} is enrolled; next: understudy-coordinator run --config {}",
                loaded.name.get_ref(),
                config.display()
            ));
            Ok(Exit::Done)
        }
        Verb::Run { config, log_json } => {
            let loaded = Config::load(&config)?;
            telemetry::init("understudy-coordinator", log_json, consensus::LIBRARY_LOG)?;
            runtime()?.block_on(async {
                let shutdown = shutdown::on_signals()?;
                run::run(loaded, shutdown).await
            })
        }
    }
}

/// Talk goes to stderr; stdout is for data.
fn say(line: &str) {
    // Nobody reads it any more: nothing to do about that.
    let _ = writeln!(std::io::stderr(), "{line}");
}
