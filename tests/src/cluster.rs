//! All five nodes on loopback: a pair of coordinators and a witness, a primary
//! and a standby agent, set up as an operator would.

use crate::{
    config::{self, GROUP, Hook, Options},
    ctl::Ctl,
    installation::{Installation, PATIENCE},
    journal::{self, Journal},
    node::{Kind, Node},
    ports::Ports,
    process,
    programs::Programs,
    view, wait,
    webhook::Webhook,
};
use anyhow::{Result, ensure};
use std::{
    fs,
    ops::{Deref, DerefMut},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

pub use crate::installation::{COORDINATORS, HOSTS};

/// A cluster. Dropping it ends every process that it or its agents started.
#[derive(Debug)]
pub struct Cluster {
    /// The DNS hook that all coordinators call.
    pub hook: Hook,
    /// The receiver of notifications.
    pub webhook: Webhook,
    /// The publishers' ports, in the order of the sites.
    pub publishers: [u16; 2],
    options: Options,
    installation: Installation,
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
            installation: Installation {
                ctl: Ctl::new(programs.folder(), &folder),
                nodes,
                folder,
                temporary: Some(temporary),
            },
            hook,
            webhook,
            publishers,
            options,
            kept: false,
            _ports: ports,
        })
    }

    /// What differs from other clusters.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
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
        if let Some(temporary) = self.installation.temporary.take() {
            let _ = temporary.keep();
        }
        self.installation.folder.clone()
    }
}

impl Deref for Cluster {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Installation {
        &mut self.installation
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for node in &mut self.installation.nodes {
            // The sweep below takes what this could not.
            let _ = node.kill9();
        }
        if let Err(why) = process::sweep(&self.installation.folder)
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

/// The key that signs notifications; a coordinator refuses one that others may read.
fn write_secret(path: &Path) -> Result<()> {
    fs::write(path, "a secret of loopback only\n")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
