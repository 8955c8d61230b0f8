//! `understudy-agent`: the command line; everything else is in the library.

mod collect;
mod isolate;
mod stop;
mod table;

use agent::{
    backups::Backups,
    config::Config,
    coordinators,
    driver::{self, Ended, Setup},
    emergency::Watch,
    enroll::{self, EnrollError},
    evidence::EvidenceError,
    gate::{self, Gate, GateRoom, command::GateCommandError},
    hold,
    isolation::{Host, IsolationError, Keeper, container::DetachError},
    ledger::Ledger,
    peer,
    probe::Probes,
    service::{ServiceRoom, Services},
    task::{self, Tasks},
    watchdog::Watchdog,
};
use anyhow::{Context, bail};
use backup::{BackupCommand, BackupError};
use certs::{RoleKind, Trust};
use clap::{Parser, Subcommand};
use daemon::{config::ConfigError, exit::Exit, lock::StateLock, shutdown, telemetry};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// How often the credentials' files are looked at.
const CREDENTIALS_EVERY: Duration = Duration::from_secs(1);

/// The backup library tells of every step; what it drops, our own code counts.
const QUIET: &str = "rustic_core=error";

#[derive(Parser)]
#[command(
    name = "understudy-agent",
    version,
    about = "Understudy's agent: eyes and hands on a host"
)]
struct Arguments {
    /// Write the log as JSON, one object a line.
    #[arg(long, global = true)]
    log_json: bool,
    /// End with this parent: how the agent starts tasks.
    #[arg(long, value_name = "PID", hide = true)]
    tied_to: Option<i32>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent (systemd does this).
    Run(ConfigFile),
    /// Turn a join token into this host's identity; may be repeated.
    Enroll {
        /// The line that `coordctl token create --host NAME` printed.
        #[arg(long, env = "UNDERSTUDY_TOKEN", hide_env_values = true)]
        token: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Check agent.toml and tell every fault.
    Check(ConfigFile),
    /// The kernel gate's table, without the agent.
    #[command(subcommand)]
    Gate(table::GateCommand),
    /// Backups, without the agent and without any coordinator.
    Backup {
        #[command(subcommand)]
        command: BackupCommand,
        /// The configuration file.
        #[arg(
            long,
            value_name = "FILE",
            global = true,
            default_value = "/etc/understudy/agent.toml"
        )]
        config: PathBuf,
        /// The agent that started it, and ends it.
        #[arg(long, value_name = "PID", global = true, hide = true)]
        of_agent: Option<u32>,
    },
    /// What shows what happened on this host, sealed; needs no coordinator.
    #[command(subcommand)]
    Evidence(collect::EvidenceCommand),
    /// Cut this host off after a breach, and undo it; needs no coordinator.
    #[command(subcommand)]
    Isolate(isolate::IsolateCommand),
    /// Stop what is exclusive here at once, until it is released.
    EmergencyStop(stop::EmergencyStop),
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/understudy/agent.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // Before anything else: the holder is to be small and has its own words.
    if words.next().is_some_and(|first| first == "hold") {
        return hold::run(words);
    }
    let arguments = Arguments::parse();
    if let Some(parent) = arguments.tied_to
        && let Err(error) = task::tie(parent)
    {
        return told(&error.into(), Exit::Failed);
    }
    // Fails only where one is installed already, and then it is this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Err(error) = telemetry::init("understudy-agent", arguments.log_json, QUIET) {
        return told(&error.into(), Exit::Usage);
    }
    let done = match arguments.command {
        Command::Check(file) => check(&file.config),
        Command::Run(file) => run(&file.config),
        Command::Enroll { token, config } => enrol(&config.config, &token),
        Command::Gate(command) => table::run(command),
        Command::Backup { command, config, of_agent } => {
            match of_agent.map_or(Ok(true), backup::end_with) {
                Ok(true) => of_backup(&command, &config),
                Ok(false) => Err(anyhow::anyhow!("the agent that started it is gone")),
                Err(error) => Err(error).context("it cannot be tied to the agent"),
            }
        }
        Command::Evidence(command) => collect::run(&command),
        Command::Isolate(command) => isolate::run(command),
        Command::EmergencyStop(args) => stop::run(args),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = exit_of(&error);
            told(&error, exit)
        }
    }
}

/// stderr is talk.
fn told(error: &anyhow::Error, exit: Exit) -> ExitCode {
    let words = match error.downcast_ref::<ConfigError>() {
        Some(ConfigError::Invalid(faults)) => format!("{faults:#}"),
        Some(ConfigError::Read { .. } | ConfigError::TooLong { .. }) | None => {
            format!("understudy-agent: {error:#}")
        }
    };
    // Nobody is left to be told that nobody reads this.
    let _ = writeln!(std::io::stderr(), "{words}");
    exit.into()
}

/// stdout is data.
fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("writing to stdout")
}

fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<ConfigError>() {
        return Exit::Usage;
    }
    if let Some(error) = error.downcast_ref::<EvidenceError>() {
        return collect::exit_of(error);
    }
    if let Some(error) = error.downcast_ref::<DetachError>() {
        return isolate::exit_of_container(error);
    }
    if let Some(error) = error.downcast_ref::<IsolationError>() {
        return isolate::exit_of(error);
    }
    if let Some(GateCommandError::Kept { .. }) = error.downcast_ref() {
        return Exit::Refused;
    }
    if let Some(error) = error.downcast_ref::<BackupError>() {
        return error.exit();
    }
    match error.downcast_ref::<EnrollError>() {
        Some(EnrollError::Token(_) | EnrollError::Role { .. } | EnrollError::Host { .. }) => {
            Exit::Usage
        }
        Some(EnrollError::Connect(_)) => Exit::Unreachable,
        Some(EnrollError::Refused(_)) => Exit::Refused,
        Some(
            EnrollError::Lock(_)
            | EnrollError::User { .. }
            | EnrollError::Store(_)
            | EnrollError::Coordinators(_),
        )
        | None => Exit::Failed,
    }
}

fn check(file: &Path) -> anyhow::Result<Exit> {
    let config = Config::load(file)?;
    let (services, probes) = (config.services.len(), config.probes.len());
    let missing = agent::service::missing_programs(&config.services);
    if !missing.is_empty() {
        for fault in &missing {
            // Nobody is left to be told that nobody reads this.
            let _ = writeln!(std::io::stderr(), "understudy-agent: {}: {fault}", file.display());
        }
        return Ok(Exit::Usage);
    }
    say(&format!(
        "ok: {} (host {}, {services} service(s), {probes} probe(s))",
        file.display(),
        config.host
    ))?;
    Ok(Exit::Done)
}

fn of_backup(command: &BackupCommand, file: &Path) -> anyhow::Result<Exit> {
    // The small process that lets containers go on knows all it needs.
    let config =
        if command.is_thaw() { backup::Config::default() } else { Config::load(file)?.backup };
    let answer = backup::run(command, &config)?;
    if !answer.text.is_empty() {
        say(&answer.text)?;
    }
    for fault in &answer.faults {
        // Nobody is left to be told that nobody reads this.
        let _ = writeln!(std::io::stderr(), "understudy-agent: {fault}");
    }
    Ok(answer.exit)
}

/// How long what still blocks may take at the very end: a write of a small file.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Two threads beside the main one, which has the loop to itself: a task that
/// takes its time then holds up no lease.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // One may hang in a file system for each service of the process driver,
        // and looking up a coordinator's name needs another; idle ones end.
        .max_blocking_threads(64)
        .thread_stack_size(512 * 1024)
        .enable_all()
        .build()
        .context("the async runtime cannot be made")
}

fn enrol(file: &Path, token: &str) -> anyhow::Result<Exit> {
    let config = Config::load(file)?;
    let enrolled = runtime()?.block_on(enroll::enroll(&config, token))?;
    say(&format!(
        "enrolled host {} (certificate {}); coordinators: {}\nnext: systemctl start understudy-agent, \
         or: understudy-agent run --config {}",
        config.host,
        enrolled.serial,
        enrolled.coordinators.join(", "),
        file.display()
    ))?;
    Ok(Exit::Done)
}

/// The credentials, which must speak for the host that agent.toml names.
fn credentials(config: &Config) -> anyhow::Result<Trust> {
    let trust =
        Trust::load(config.pki()).map_err(|error| anyhow::anyhow!("{}", certs::explain(&error)))?;
    let identity = trust.identity();
    if identity.role().kind() == RoleKind::Agent && identity.name() == config.host.as_str() {
        return Ok(trust);
    }
    bail!(
        "the certificate in {} is of {identity}, and agent.toml says host = \"{}\"; \
         correct agent.toml, or enrol again with a token for this host",
        config.pki().display(),
        config.host
    )
}

fn run(file: &Path) -> anyhow::Result<Exit> {
    let config = Config::load(file)?;
    let _lock = StateLock::acquire(&config.state_dir, "understudy-agent")?;
    let trust = credentials(&config)?;
    let (ledger, failure) = Ledger::open(&config.state_dir)?;
    let fixed = config.coordinators.is_some();
    let list = match &config.coordinators {
        Some(list) => list.clone(),
        None => coordinators::load(&config.state_dir)?,
    };
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let shutdown = shutdown::on_signals().context("signals cannot be watched")?;
        let asked = shutdown.clone();
        // Ends with the runtime.
        drop(trust.watch(CREDENTIALS_EVERY, async move { asked.requested().await }));
        let room = ServiceRoom {
            cgroups: gate::make_room(&config.gate, &config.services),
            ..ServiceRoom::new(&config.state_dir)
        };
        let gate_room =
            GateRoom { state_dir: config.state_dir.clone(), cgroups: room.cgroups.clone() };
        let isolation = Keeper::start(Host::of(&config));
        let stops = Watch::start(&config.state_dir).context("emergency stops are not watched")?;
        let gate = Gate::open(&config.gate, &config.services, &gate_room);
        let backups = Backups::start(&config, file).context("backups have no thread")?;
        let peer = match &config.peer {
            Some(peer) => Some(peer::serve(peer, &trust, &shutdown).await?),
            None => None,
        };
        let services = Services::open(&config.services, &room)?;
        let mut probes = Probes::spawn(&config.probes, &services)?;
        probes.watch_recovery(&config.services, trust.clone());
        gate.up().await;
        tracing::info!(host = %config.host, coordinators = ?list, "understudy-agent runs");
        let setup = Setup {
            host: config.host.clone(),
            state_dir: config.state_dir.clone(),
            coordinators: list,
            coordinators_fixed: fixed,
            groups: config.groups(),
            services,
            probes,
            gate,
            isolation: isolation.standing(),
            isolate: Host::of(&config),
            stops: stops.stops(),
            backups: backups.told(),
            watchdog: Watchdog::open(config.watchdog.as_ref()),
            peer,
            ledger,
            failure,
            tasks: Tasks::new("/proc/self/exe".into(), file.into(), config.tasks.clone()),
            trust,
            shutdown,
        };
        anyhow::Ok(Box::pin(driver::run(setup)).await)
    })?;
    // All is stopped: a file system that hangs does not hold up the end.
    runtime.shutdown_timeout(END_LIMIT);
    match ended {
        Ended::Asked => Ok(Exit::Done),
        Ended::Ledger(error) => {
            tracing::error!(%error, "ended, because the ledger must be durable");
            Ok(Exit::NotDurable)
        }
        Ended::Defect(error) => bail!("ended, because a part of the agent failed: {error}"),
    }
}
