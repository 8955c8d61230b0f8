//! All five nodes on loopback: a pair of coordinators and a witness, a primary
//! and a standby agent, set up as an operator would.

use crate::{
    config::{self, GROUP, Hook, Options},
    ctl::Ctl,
    journal::{self, Journal},
    node::{Kind, Node},
    ports::Ports,
    process,
    programs::Programs,
    view, wait,
    webhook::Webhook,
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// How long anything in the setting-up may take on two cores that also compile.
const PATIENCE: Duration = Duration::from_secs(30);

/// The three voters.
pub const COORDINATORS: [&str; 3] = ["c1", "c2", "w1"];
/// The hosts, in the order of the sites.
pub const HOSTS: [&str; 2] = ["p1", "s1"];

/// A cluster. Dropping it ends every process that it or its agents started.
#[derive(Debug)]
pub struct Cluster {
    /// The operator.
    pub ctl: Ctl,
    /// The DNS hook that all coordinators call.
    pub hook: Hook,
    /// The receiver of notifications.
    pub webhook: Webhook,
    /// The publishers' ports, in the order of the sites.
    pub publishers: [u16; 2],
    options: Options,
    nodes: Vec<Node>,
    folder: PathBuf,
    /// Removed when dropped, unless a test has failed.
    temporary: Option<TempDir>,
    /// Whether everything is to live on when this is dropped.
    kept: bool,
    _ports: Ports,
}

impl Cluster {
    /// Everything up, and the group active on its primary site.
    ///
    /// # Errors
    /// What failed, with the end of the log of a node that ended.
    pub fn raise(&mut self) -> Result<()> {
        self.found()?;
        self.join_coordinators()?;
        self.join_agents()?;
        self.apply()?;
        self.served_by(config::PRIMARY, PATIENCE)
    }

    /// The folder, the files and the ports; nothing runs yet.
    ///
    /// # Errors
    /// When a program is missing, or a file or a port cannot be had.
    pub fn prepare(options: Options) -> Result<Self> {
        let programs = Programs::find()?;
        let temporary = tempfile::Builder::new().prefix("understudy-").tempdir()?;
        let folder = temporary.path().to_path_buf();
        let mut ports = Ports::take()?;
        let hook = Hook::write(&folder, options.hook_takes)?;
        write_secret(&folder.join("webhook-secret"))?;
        let webhook_port = ports.one()?;
        let accepted = folder.join("notifications-accepted");
        let webhook = if options.keep {
            Webhook::start_elsewhere(&programs, &folder, webhook_port, &accepted)?
        } else {
            Webhook::start(webhook_port, &accepted)?
        };
        let mut nodes = Vec::new();
        for name in COORDINATORS {
            let witness = name == "w1";
            let own = [ports.one()?, ports.one()?];
            let text = config::coordinator(name, witness, &folder, own, webhook_port, &hook.script);
            let kind = if witness { Kind::Witness } else { Kind::Coordinator };
            nodes.push(Node::new(name, kind, &folder, programs.folder(), &text)?);
        }
        let publishers = [ports.one()?, ports.one()?];
        let publisher = programs.path("tick-publisher");
        for (site, (name, port)) in HOSTS.into_iter().zip(publishers).enumerate() {
            let text = config::agent(name, site, &folder, &publisher, port, &options);
            nodes.push(Node::new(name, Kind::Agent, &folder, programs.folder(), &text)?);
        }
        if options.keep {
            nodes.iter_mut().for_each(Node::detach);
        }
        fs::create_dir(folder.join("groups"))?;
        fs::write(folder.join("groups/fx.toml"), config::group(&options))?;
        Ok(Self {
            ctl: Ctl::new(programs.folder(), &folder),
            hook,
            webhook,
            publishers,
            options,
            nodes,
            folder,
            temporary: Some(temporary),
            kept: false,
            _ports: ports,
        })
    }

    /// `coordctl init`, and the first coordinator leading alone.
    ///
    /// # Errors
    /// When the authority cannot be made or the coordinator does not lead.
    pub fn found(&mut self) -> Result<()> {
        let state = self.node("c1")?.folder().join("state");
        let advertise = advertised(self.node("c1")?)?;
        self.ctl.ok(&[
            "init",
            "--installation",
            "loopback",
            "--coordinator",
            "c1",
            "--advertise",
            &advertise,
            "--coordinator-state",
            &state.display().to_string(),
            "--operator",
            "tester",
        ])?;
        self.node_mut("c1")?.start()?;
        self.status_where("c1 to lead", PATIENCE, |status| {
            ensure!(status["leader"] == "c1", "the leader is {}", status["leader"]);
            Ok(())
        })?;
        Ok(())
    }

    /// The other two coordinators enrolled, started, and voting.
    ///
    /// # Errors
    /// When one does not come to vote.
    pub fn join_coordinators(&mut self) -> Result<()> {
        for name in ["c2", "w1"] {
            self.enrol(name)?;
            self.node_mut(name)?.start()?;
        }
        self.status_where("three voters", PATIENCE, |status| {
            for name in COORDINATORS {
                let member = view::named(status, "members", name)?;
                ensure!(member["voter"] == true, "{name} has no vote yet");
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Both agents enrolled, started, and heard.
    ///
    /// # Errors
    /// When one is not heard.
    pub fn join_agents(&mut self) -> Result<()> {
        for name in HOSTS {
            self.enrol(name)?;
            self.node_mut(name)?.start()?;
        }
        Ok(())
    }

    /// Makes a token for `name` and enrols it.
    ///
    /// # Errors
    /// When either is refused.
    pub fn enrol(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        let made = self.ctl.ok(&["token", "create", "--host", name, "--role", node.kind.role()])?;
        node.enrol(made.trim())
    }

    /// `coordctl apply -f` of the group's file.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&self) -> Result<()> {
        let folder = self.folder.join("groups").display().to_string();
        // The first call may meet the end of an election.
        wait::until("the group's file to be applied", PATIENCE, || {
            self.ctl.ok(&["apply", "-f", &folder])
        })?;
        Ok(())
    }

    /// The cluster's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What differs from other clusters.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A node by name.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .with_context(|| format!("no node is named {name}"))
    }

    /// A node by name, to be changed.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        self.nodes
            .iter_mut()
            .find(|node| node.name == name)
            .with_context(|| format!("no node is named {name}"))
    }

    /// `coordctl status --json`.
    ///
    /// # Errors
    /// When no leader answers.
    pub fn status(&self) -> Result<Value> {
        self.ctl.json(&["status"])
    }

    /// Waits for a status with which `fits` agrees, and returns it.
    ///
    /// # Errors
    /// When none comes in time, with what was wrong with the last one.
    pub fn status_where(
        &mut self,
        what: &str,
        limit: Duration,
        mut fits: impl FnMut(&Value) -> Result<()>,
    ) -> Result<Value> {
        let ctl = self.ctl.clone();
        let nodes = &mut self.nodes;
        wait::until(what, limit, || {
            let fallen: Vec<String> = nodes
                .iter_mut()
                .filter(|node| node.pid().is_some())
                .filter_map(|node| node.alive().err())
                .map(|why| why.to_string())
                .collect();
            if !fallen.is_empty() {
                // No use in waiting on.
                return Ok(Err(anyhow::anyhow!("{}", fallen.join("\n"))));
            }
            let status = ctl.json(&["status", "--timeout", "2s"])?;
            fits(&status)?;
            Ok(Ok(status))
        })?
        .with_context(|| format!("waiting for {what}"))
    }

    /// The leading coordinator's name.
    ///
    /// # Errors
    /// When none leads within the limit.
    pub fn leader(&mut self, limit: Duration) -> Result<String> {
        let status = self.status_where("a leader", limit, |status| {
            ensure!(!view::text(status, "leader")?.is_empty(), "no leader");
            Ok(())
        })?;
        Ok(view::text(&status, "leader")?.to_owned())
    }

    /// What the service of the host on `site` wrote down.
    ///
    /// # Errors
    /// When the journal is malformed.
    pub fn journal(&self, host: &str) -> Result<Journal> {
        Journal::read(&self.node(host)?.ticks())
    }

    /// How long both sites sent at once, so far.
    ///
    /// # Errors
    /// When a journal is malformed.
    pub fn dual_active_ms(&self) -> Result<u64> {
        Ok(journal::dual_active_ms(&self.journal("p1")?, &self.journal("s1")?))
    }

    /// Waits until the coordinators say that `site` is active, no plan is under
    /// way, and its service sends.
    ///
    /// # Errors
    /// When it does not come so far in time.
    pub fn served_by(&mut self, site: &str, limit: Duration) -> Result<()> {
        let host = host_of(site);
        self.status_where(&format!("{site} to be active"), limit, |status| {
            view::active_on(status, GROUP, site)
        })?;
        let since = journal::boot_ms()?;
        wait::until(&format!("ticks from {host}"), limit, || {
            let sent = self.journal(host)?.ticks_since(since);
            ensure!(sent >= 3, "{sent} ticks");
            Ok(())
        })
    }

    /// Lets everything live on, and says where.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.kept = true;
        if let Some(temporary) = self.temporary.take() {
            let _ = temporary.keep();
        }
        self.folder.clone()
    }

    /// Says where a failed test's logs are, with the end of each.
    #[allow(clippy::print_stderr, reason = "a failed test's words")]
    pub fn tell(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            eprintln!("kept for you: {}", temporary.keep().display());
        }
        for node in &self.nodes {
            eprintln!("--- {}: last lines of its log\n{}", node.name, node.last_words(15));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for node in &mut self.nodes {
            // The sweep below takes what this could not.
            let _ = node.kill9();
        }
        if let Err(why) = process::sweep(&self.folder)
            && !thread::panicking()
        {
            panic!("a cluster could not be ended: {why:#}");
        }
        if thread::panicking() {
            self.tell();
        }
    }
}

/// The only host of a site.
#[must_use]
pub fn host_of(site: &str) -> &'static str {
    if site == config::PRIMARY { HOSTS[0] } else { HOSTS[1] }
}

/// The address that a coordinator's own configuration says others reach it at.
fn advertised(node: &Node) -> Result<String> {
    let text = fs::read_to_string(node.config())?;
    let line = text.lines().find_map(|line| line.strip_prefix("advertise = "));
    Ok(line.context("no `advertise` line")?.trim_matches('"').to_owned())
}

/// The key that signs notifications; a coordinator refuses one that others may read.
fn write_secret(path: &Path) -> Result<()> {
    fs::write(path, "a secret of loopback only\n")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
