//! The files of a lab: what an operator would write for five hosts that each
//! have an address of their own.

use super::network::address;
use crate::config::{GROUP, PRIMARY, SERVICE, STANDBY};
use anyhow::Result;
use std::{fmt::Write, path::Path};

/// Where coordinators take agents, operators and each other.
const PORT: u16 = 7443;
/// Where coordinators take new hosts, and agents take each other.
const SIDE_PORT: u16 = 7444;
/// Where the venue listens.
pub const VENUE_PORT: u16 = 9000;

/// How the trader runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// In a container with Docker's bridge between it and the host's network.
    Bridged,
    /// In a container in the host's own network.
    HostNetwork,
    /// As a process under the agent's holder.
    Process,
}

/// How the trader waits on a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standby {
    /// Not running.
    Stopped,
    /// Running behind the closed gate.
    Gated,
}

/// What differs from one lab to the next.
#[derive(Debug, Clone)]
pub struct Options {
    /// The lease T of the group.
    pub lease: String,
    /// How long a host is silent before a failover; the group's default when absent.
    pub dwell: Option<String>,
    /// The proof that an automatic failover needs.
    pub needs: u8,
    /// Whether a loss leads to a failover by itself.
    pub automatic: bool,
    /// How the trader runs.
    pub driver: Driver,
    /// How it waits on a standby.
    pub standby: Standby,
    /// Whether the agents hold a kernel gate.
    pub gate: bool,
    /// Whether the group may go on without coordinators (A6).
    pub failsafe: bool,
    /// Docker's own restart policy of the trader's container is `always`.
    pub restart_always: bool,
    /// Every program has a wall clock of its own, which can be set.
    pub own_clocks: bool,
    /// Whether coordinators may isolate p1, and it knows its operator's address.
    pub isolation: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // Above the shortest with which an agent takes exclusive containers,
            // so that a busy machine is not taken for a fault.
            lease: "3s".into(),
            dwell: None,
            needs: 1,
            automatic: true,
            driver: Driver::Bridged,
            standby: Standby::Stopped,
            gate: false,
            failsafe: false,
            restart_always: false,
            own_clocks: false,
            isolation: false,
        }
    }
}

impl Options {
    /// With the kernel gate, and the proof that it makes possible.
    #[must_use]
    pub fn gated() -> Self {
        Self { gate: true, needs: 2, ..Self::default() }
    }
}

/// coordinator.toml.
///
/// # Errors
/// When the name is none of the lab's machines.
pub fn coordinator(name: &str, folder: &Path, hook: &Path) -> Result<String> {
    let (state, at) = (folder.join(name).join("state"), address(name)?);
    let role = if name == "w1" { "witness" } else { "coordinator" };
    let mut text = format!(
        "name = \"{name}\"\nrole = \"{role}\"\nstate_dir = \"{}\"\n\
         listen = \"0.0.0.0:{PORT}\"\nadvertise = \"{at}:{PORT}\"\n",
        state.display()
    );
    if role == "coordinator" {
        let log = folder.join(name).join("notifications.log");
        write!(
            text,
            "enrol_listen = \"0.0.0.0:{SIDE_PORT}\"\nenrol_advertise = \"{at}:{SIDE_PORT}\"\n\n\
             [dns_hook]\ncommand = [\"{hook}\", \"{name}\"]\ntimeout = \"10s\"\nattempts = 3\n\n\
             [[notify]]\nname = \"log\"\nkind = \"log\"\npath = \"{log}\"\n",
            hook = hook.display(),
            log = log.display(),
        )?;
    }
    Ok(text)
}

/// agent.toml of the host of `site`, whose Docker listens on `socket`.
///
/// # Errors
/// When the name is none of the lab's machines.
pub fn agent(
    name: &str,
    site: &str,
    folder: &Path,
    socket: &Path,
    trader: &Path,
    options: &Options,
) -> Result<String> {
    let state = folder.join(name).join("state");
    let mut text = format!("host = \"{name}\"\nstate_dir = \"{}\"\n", state.display());
    if options.failsafe {
        write!(text, "\n[peer]\nlisten = \"{}:{SIDE_PORT}\"\n", address(name)?)?;
    }
    // The two hosts share one kernel, so that each has a table, and with it a
    // cgroup, of its own.
    if options.gate {
        write!(text, "\n[gate]\ntable = \"understudy_{name}\"\n")?;
    } else {
        text.push_str("\n[gate]\nenabled = false\n");
    }
    if options.isolation && name == "p1" {
        write!(
            text,
            "\n[isolation]\nremote = true\nconfirm_within = \"10s\"\nadministrators = [\"{}\"]\n",
            address("operator")?
        )?;
    }
    write!(text, "\n[[service]]\nname = \"{SERVICE}\"\ngroup = \"{GROUP}\"\nexclusive = true\n")?;
    match options.standby {
        Standby::Stopped => {}
        Standby::Gated => text.push_str("standby = \"gated\"\n"),
    }
    match options.driver {
        Driver::Bridged | Driver::HostNetwork => write!(
            text,
            "driver = \"docker\"\ncontainer = \"trader\"\nsocket = \"{}\"\n",
            socket.display()
        )?,
        Driver::Process => {
            let words: Vec<String> = std::iter::once(trader.display().to_string())
                .chain(trader_arguments(site)?)
                .map(|word| format!("\"{word}\""))
                .collect();
            writeln!(text, "driver = \"process\"\ncommand = [{}]", words.join(", "))?;
        }
    }
    Ok(text)
}

/// The trader's arguments on one site.
///
/// # Errors
/// Never: the venue is one of the lab's machines.
pub fn trader_arguments(site: &str) -> Result<Vec<String>> {
    let venue = format!("{}:{VENUE_PORT}", address("venue")?);
    Ok(["--venue", &venue, "--site", site].map(str::to_owned).to_vec())
}

/// The group's file.
///
/// # Errors
/// Never: the hosts are machines of the lab.
pub fn group(options: &Options) -> Result<String> {
    let mut text = format!(
        "[group]\nname = \"{GROUP}\"\nlease = \"{}\"\nautomatic_failover_needs = {}\n\
         primary = \"{PRIMARY}\"\nautomatic = {}\ncool_down = \"1s\"\n",
        options.lease, options.needs, options.automatic
    );
    if let Some(dwell) = &options.dwell {
        writeln!(text, "dwell = \"{dwell}\"")?;
    }
    if options.failsafe {
        text.push_str("failsafe = true\n");
    }
    for (site, host) in [(PRIMARY, "p1"), (STANDBY, "s1")] {
        write!(
            text,
            "\n[[site]]\nname = \"{site}\"\nhosts = [\"{host}\"]\naddresses = [\"{}\"]\n",
            address(host)?
        )?;
    }
    write!(
        text,
        "\n[[service]]\nname = \"{SERVICE}\"\nexclusive = true\nstart_timeout = \"20s\"\n"
    )?;
    Ok(text)
}
