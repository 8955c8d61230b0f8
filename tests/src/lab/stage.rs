//! A lab as a whole: five hosts, a venue, an operator, and the network between
//! them. Everything is gone when it is dropped.

use super::{
    checker,
    config::{self, Driver, Options},
    docker::{self, Daemon},
    hardship,
    machine::{self, Machine},
    network::{MACHINES, Network, up_s},
    orders::{self, Activation, Order},
    timeline::Timeline,
};
use crate::{
    cluster::host_of,
    config::{GROUP, Hook, PRIMARY, STANDBY},
    ctl::Ctl,
    installation::{COORDINATORS, HOSTS, Installation, PATIENCE},
    journal,
    node::{Kind, Node},
    process,
    programs::Programs,
    view, wait,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::Child,
    thread,
    time::Duration,
};

/// A lab. Dropping it ends every machine of it.
#[derive(Debug)]
pub struct Lab {
    /// The cuts, and the bridge.
    pub network: Network,
    /// What was done.
    pub timeline: Timeline,
    /// The DNS hook that both coordinators call.
    pub hook: Hook,
    installation: Installation,
    machines: Vec<Machine>,
    daemons: [Daemon; 2],
    venue: Option<Child>,
    options: Options,
    programs: PathBuf,
}

impl Lab {
    /// Everything up, and the group active on its primary site.
    ///
    /// # Errors
    /// What failed, with the end of the log of a node that ended.
    pub fn raise(options: Options) -> Result<Self> {
        let mut lab = Self::prepare(options)?;
        match lab.bring_up() {
            Ok(()) => Ok(lab),
            Err(why) => {
                lab.tell_all();
                Err(why)
            }
        }
    }

    /// The machines and the files; only the Docker daemons and the venue run.
    ///
    /// # Errors
    /// When the machine that tests lacks something: what, and what to do.
    pub fn prepare(options: Options) -> Result<Self> {
        machine::available()?;
        let programs = Programs::find()?;
        let temporary = tempfile::Builder::new().prefix("understudy-lab-").tempdir()?;
        let folder = temporary.path().to_path_buf();
        let network = Network::start(programs.folder(), &folder)?;
        let mut machines = Vec::new();
        for name in MACHINES {
            let machine = Machine::start(name, up_s(name), programs.folder(), &folder.join(name))?;
            network.plug(&machine)?;
            if options.driver == Driver::HostNetwork {
                machine.second_cgroups()?;
            }
            machines.push(machine);
        }
        let daemon = |at: usize| Daemon::new(&folder.join(HOSTS[at]).join("docker"), at);
        let daemons = [daemon(0)?, daemon(1)?];
        let hook = Hook::write(&folder, Duration::ZERO)?;
        let mut nodes = Vec::new();
        for name in COORDINATORS {
            let kind = if name == "w1" { Kind::Witness } else { Kind::Coordinator };
            let text = config::coordinator(name, &folder, &hook.script)?;
            nodes.push(Node::new(name, kind, &folder, programs.folder(), &text)?);
        }
        let trader = programs.path("trader");
        for ((name, site), daemon) in HOSTS.into_iter().zip([PRIMARY, STANDBY]).zip(&daemons) {
            let text = config::agent(name, site, &folder, &daemon.socket(), &trader, &options)?;
            nodes.push(Node::new(name, Kind::Agent, &folder, programs.folder(), &text)?);
        }
        fs::create_dir(folder.join("groups"))?;
        fs::write(folder.join("groups/fx.toml"), config::group(&options)?)?;
        let operator = machines.last().context("no operator")?.network();
        let mut lab = Self {
            network,
            timeline: Timeline::default(),
            hook,
            installation: Installation {
                ctl: Ctl::new(programs.folder(), &folder).behind(operator),
                nodes,
                folder,
                temporary: Some(temporary),
            },
            machines,
            daemons,
            venue: None,
            options,
            programs: programs.folder().into(),
        };
        for name in COORDINATORS.into_iter().chain(HOSTS) {
            let entry = lab.entry(name)?;
            lab.node_mut(name)?.enter(entry);
        }
        lab.open_venue()?;
        Ok(lab)
    }

    fn bring_up(&mut self) -> Result<()> {
        let containers = !matches!(self.options.driver, Driver::Process);
        let Self { installation, machines, daemons, options, programs, .. } = self;
        let folder = installation.folder().to_path_buf();
        // Docker comes up beside the coordinators.
        thread::scope(|scope| -> Result<()> {
            let docker = scope.spawn(|| -> Result<()> {
                if !containers {
                    return Ok(());
                }
                for (daemon, machine) in daemons.iter_mut().zip(machines.iter()) {
                    daemon.start(machine)?;
                }
                let archive = docker::archive(&folder, &programs.join("trader"))?;
                let hosts = machines.iter().zip([PRIMARY, STANDBY]);
                for (daemon, (machine, site)) in daemons.iter_mut().zip(hosts) {
                    daemon.ready(machine)?;
                    daemon.import(&archive)?;
                    docker::create_trader(daemon, machine, site, options)?;
                }
                Ok(())
            });
            installation.found()?;
            installation.join_coordinators()?;
            docker.join().map_err(|_| anyhow::anyhow!("Docker's thread failed"))?
        })?;
        self.join_agents()?;
        self.apply()?;
        self.served_by(PRIMARY, PATIENCE)
    }

    fn open_venue(&mut self) -> Result<()> {
        let log = File::create(self.folder().join("venue.log"))?;
        let child = self
            .machine("venue")?
            .command(self.programs.join("venue"))
            .args(["--listen", &format!("0.0.0.0:{}", config::VENUE_PORT), "--log"])
            .arg(self.orders_file())
            .env(process::MARK, self.folder())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("could not start the venue")?;
        self.venue = Some(child);
        Ok(())
    }

    /// A machine by name.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        let found = self.machines.iter().find(|machine| machine.name == name);
        found.with_context(|| format!("no machine is named {name}"))
    }

    /// What puts a node's program on its machine.
    ///
    /// # Errors
    /// When there is none of this name, or no clock of its own to be had.
    pub fn entry(&self, name: &str) -> Result<Vec<String>> {
        let mut entry = self.machine(name)?.entry();
        if self.options.own_clocks {
            entry.extend(hardship::own_clock(self.node(name)?)?);
        }
        Ok(entry)
    }

    /// The Docker daemon of a host.
    ///
    /// # Errors
    /// When the machine has none.
    pub fn daemon(&mut self, host: &str) -> Result<&mut Daemon> {
        let at = HOSTS.iter().position(|known| *known == host);
        Ok(&mut self.daemons[at.with_context(|| format!("{host} has no Docker"))?])
    }

    /// Starts a host's Docker daemon again and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_docker(&mut self, host: &str) -> Result<()> {
        let at = HOSTS.iter().position(|known| *known == host);
        let at = at.with_context(|| format!("{host} has no Docker"))?;
        let machine = self.machines.iter().find(|machine| machine.name == host);
        let machine = machine.context("no such machine")?;
        self.daemons[at].start(machine)?;
        self.daemons[at].ready(machine)
    }

    /// The process of this name in a machine's tree, as we see it.
    ///
    /// # Errors
    /// When none runs there.
    pub fn program(&self, machine: &str, name: &str) -> Result<u32> {
        let init = self.machine(machine)?.init();
        process::in_tree(init, name).with_context(|| format!("no {name} runs on {machine}"))
    }

    /// The loss of power of one machine: everything on it ends at once.
    ///
    /// # Errors
    /// When it does not end.
    pub fn power_off(&mut self, name: &str) -> Result<()> {
        self.timeline.note(format!("{name} loses its power"));
        let machine = self.machines.iter_mut().find(|machine| machine.name == name);
        machine.with_context(|| format!("no machine is named {name}"))?.power_off()?;
        self.node_mut(name)?.kill9()?;
        match self.daemon(name) {
            Ok(daemon) => daemon.lost_power(),
            Err(_) => Ok(()),
        }
    }

    /// The machine comes back, with its disk and nothing else: the closed gate
    /// first, then Docker, then the agent, as their units are ordered (A1).
    ///
    /// # Errors
    /// When something does not come up.
    pub fn power_on(&mut self, name: &str) -> Result<()> {
        self.timeline.note(format!("{name} comes back"));
        let machine = Machine::start(name, up_s(name), &self.programs, &self.folder().join(name))?;
        self.network.plug(&machine)?;
        let at = self.machines.iter().position(|known| known.name == name);
        self.machines[at.context("no such machine")?] = machine;
        let entry = self.entry(name)?;
        self.node_mut(name)?.enter(entry);
        if HOSTS.contains(&name) && self.options.gate {
            self.node(name)?.load_gate()?;
        }
        if HOSTS.contains(&name) && !matches!(self.options.driver, Driver::Process) {
            self.start_docker(name)?;
        }
        self.node_mut(name)?.start()
    }

    /// What the venue got.
    ///
    /// # Errors
    /// When its log is malformed.
    pub fn orders(&self) -> Result<Vec<Order>> {
        orders::read(&self.orders_file())
    }

    fn orders_file(&self) -> PathBuf {
        self.folder().join("orders")
    }

    /// Every activation in the journal.
    ///
    /// # Errors
    /// When no leader answers.
    pub fn activations(&self) -> Result<Vec<Activation>> {
        checker::activations(&self.ctl.json(&["plan", "list"])?)
    }

    /// The options.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Waits until the coordinators say that `site` is active, no plan is under
    /// way, and its orders arrive.
    ///
    /// # Errors
    /// When it does not come so far in time.
    pub fn served_by(&mut self, site: &str, limit: Duration) -> Result<()> {
        self.status_where(&format!("{site} to be active"), limit, |status| {
            view::active_on(status, GROUP, site)
        })?;
        self.ordering(site, limit)
    }

    /// Waits until three more orders of `site` have come.
    ///
    /// # Errors
    /// When they do not come in time.
    pub fn ordering(&self, site: &str, limit: Duration) -> Result<()> {
        let since = journal::boot_us()?;
        wait::until(&format!("orders from {}", host_of(site)), limit, || {
            let sent = self.orders_since(site, since)?;
            ensure!(sent >= 3, "{sent} orders");
            Ok(())
        })
    }

    /// Waits until one run of the trader on `site` has traded for a second
    /// without a pause: on a busy machine a lease may have lapsed and come back,
    /// and a fault must not fall into that.
    ///
    /// # Errors
    /// When it does not come so far in time.
    pub fn steady(&self, site: &str, limit: Duration) -> Result<()> {
        const SPAN_US: u64 = 1_000_000;
        wait::until(&format!("a second of orders from {}", host_of(site)), limit, || {
            let (orders, now) = (self.orders()?, journal::boot_us()?);
            let last = orders.last().context("no orders")?;
            ensure!(last.site == site, "{} trades", last.site);
            ensure!(now.saturating_sub(last.at_us) < SPAN_US / 2, "nothing comes now");
            let longest = orders
                .windows(2)
                .rev()
                .take_while(|pair| last.at_us.saturating_sub(pair[1].at_us) < SPAN_US)
                .map(|pair| {
                    let gap = pair[1].at_us.saturating_sub(pair[0].at_us);
                    if pair[0].run == last.run { gap } else { u64::MAX }
                })
                .max();
            let longest = longest.context("too few orders")?;
            ensure!(longest < SPAN_US / 2, "a pause of {longest} us");
            Ok(())
        })
    }

    /// How many orders of `site` came at or after this moment.
    ///
    /// # Errors
    /// When the venue's log is malformed.
    pub fn orders_since(&self, site: &str, at_us: u64) -> Result<usize> {
        let orders = self.orders()?;
        Ok(orders.iter().filter(|order| order.site == site && order.at_us >= at_us).count())
    }

    /// Everything that a person needs to see why a scenario failed.
    #[allow(clippy::print_stderr, reason = "a failed test's words")]
    pub fn tell_all(&mut self) {
        let orders = self.orders().unwrap_or_default();
        let activations = self.activations().unwrap_or_default();
        eprintln!("{}", self.timeline.tell(&orders, &activations));
        self.installation.tell();
    }
}

impl Deref for Lab {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

impl DerefMut for Lab {
    fn deref_mut(&mut self) -> &mut Installation {
        &mut self.installation
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for machine in &mut self.machines {
            // What cannot be ended here ends with us: its init's standard input closes.
            let _ = machine.power_off();
        }
        for node in &mut self.installation.nodes {
            let _ = node.kill9();
        }
        for daemon in &mut self.daemons {
            let _ = daemon.lost_power();
        }
        for machine in &self.machines {
            docker::remove_cgroup(machine);
        }
        if let Some(mut venue) = self.venue.take() {
            let _ = venue.wait();
        }
    }
}
