//! What an operator sets up and then speaks to: nodes that have their files, the
//! founding of the first coordinator, the joining of the others. Where the nodes
//! run, on loopback or in network namespaces of their own, is left to others.

use crate::{ctl::Ctl, node::Node, view, wait};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// How long anything in the setting-up may take on two cores that also compile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The three voters.
pub const COORDINATORS: [&str; 3] = ["c1", "c2", "w1"];
/// The hosts, in the order of the sites.
pub const HOSTS: [&str; 2] = ["p1", "s1"];

/// Five nodes and an operator.
#[derive(Debug)]
pub struct Installation {
    /// The operator.
    pub ctl: Ctl,
    pub(crate) nodes: Vec<Node>,
    pub(crate) folder: PathBuf,
    /// Removed when dropped, unless a test has failed.
    pub(crate) temporary: Option<TempDir>,
}

impl Installation {
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

/// The address that a coordinator's own configuration says others reach it at.
///
/// # Errors
/// When its configuration cannot be read.
pub fn advertised(node: &Node) -> Result<String> {
    let text = fs::read_to_string(node.config())?;
    let line = text.lines().find_map(|line| line.strip_prefix("advertise = "));
    Ok(line.context("no `advertise` line")?.trim_matches('"').to_owned())
}
