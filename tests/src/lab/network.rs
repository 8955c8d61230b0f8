//! The network between the machines: a bridge on a machine of its own, and the
//! cuts that a scenario makes in it. Nothing of it is seen on the real host.
//!
//! A cut drops packets silently on the bridge, one direction at a time, so that
//! it looks to both ends like a network that has stopped carrying.

use super::machine::Machine;
use anyhow::{Context, Result};
use std::{fmt::Write, path::Path};

/// The machines of a lab, in the order of their addresses.
pub const MACHINES: [&str; 7] = ["p1", "s1", "c1", "c2", "w1", "venue", "operator"];

/// The table of the cuts. Its set is looked up before any other rule.
const TABLE: &str = "add table bridge lab
add set bridge lab cut { type ipv4_addr . ipv4_addr ; }
add chain bridge lab forward { type filter hook forward priority 0 ; }
add rule bridge lab forward ip saddr . ip daddr @cut drop
";

/// The bridge.
#[derive(Debug)]
pub struct Network {
    switch: Machine,
}

/// A machine's address.
///
/// # Errors
/// When there is no machine of this name.
pub fn address(name: &str) -> Result<String> {
    let at = MACHINES.iter().position(|known| *known == name);
    let at = at.with_context(|| format!("no machine is named {name}"))?;
    Ok(format!("10.77.0.{}", at + 11))
}

/// How far the clocks since boot of a machine are ahead of ours, in seconds: a
/// day more from one to the next, and nothing for those that measure.
#[must_use]
pub fn up_s(name: &str) -> u64 {
    const DAY: u64 = 24 * 3600;
    let measured = MACHINES.iter().take_while(|known| **known != "venue");
    let at = measured.zip(1..).find(|(known, _)| **known == name);
    at.map_or(0, |(_, days)| days * DAY)
}

impl Network {
    /// A bridge without cables.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(programs: &Path, mark: &Path) -> Result<Self> {
        let switch = Machine::start("switch", 0, programs, mark)?;
        switch.run("ip", &["link", "add", "br0", "type", "bridge"])?;
        switch.run("ip", &["link", "set", "br0", "up"])?;
        switch.run("nft", &[TABLE])?;
        Ok(Self { switch })
    }

    /// A cable from `machine` to the bridge, and its address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plug(&self, machine: &Machine) -> Result<()> {
        let (name, init) = (&machine.name, machine.init().to_string());
        // The network of a machine that lost its power may be there for a moment more.
        let _ = self.switch.run("ip", &["link", "del", name]);
        let cable = ["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &init];
        // The bridge's process tree does not know the other's ids: only the network is entered.
        let mut words = self.switch.network();
        words.push("ip".into());
        words.extend(cable.map(str::to_owned));
        run(&words)?;
        self.switch.run("ip", &["link", "set", name, "master", "br0", "up"])?;
        let own = format!("{}/24", address(name)?);
        machine.run("ip", &["addr", "add", &own, "dev", "eth0"])?;
        machine.run("ip", &["link", "set", "eth0", "up"])?;
        Ok(())
    }

    /// Drops what `from` sends to `to`, for every pair, at one moment.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn cut(&self, pairs: &[(&str, &str)]) -> Result<()> {
        self.change("add", pairs)
    }

    /// Takes these cuts back.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn mend(&self, pairs: &[(&str, &str)]) -> Result<()> {
        self.change("delete", pairs)
    }

    /// Takes every cut back.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn mend_all(&self) -> Result<()> {
        self.switch.run("nft", &["flush set bridge lab cut"]).map(|_| ())
    }

    fn change(&self, verb: &str, pairs: &[(&str, &str)]) -> Result<()> {
        let mut elements = String::new();
        for (from, to) in pairs {
            write!(elements, "{} . {}, ", address(from)?, address(to)?)?;
        }
        self.switch
            .run("nft", &[&format!("{verb} element bridge lab cut {{ {elements} }}")])
            .map(|_| ())
    }
}

/// Both directions between `one` and each of `others`.
#[must_use]
pub fn both_ways<'a>(one: &'a str, others: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    others.iter().flat_map(|other| [(one, *other), (*other, one)]).collect()
}

/// Both directions between `one` and every other machine.
#[must_use]
pub fn island(one: &str) -> Vec<(&str, &str)> {
    let others: Vec<&str> = MACHINES.into_iter().filter(|other| *other != one).collect();
    both_ways(one, &others)
}

fn run(words: &[String]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no command")?;
    let done = std::process::Command::new(program).args(arguments).output()?;
    anyhow::ensure!(
        done.status.success(),
        "`{}`: {}",
        words.join(" "),
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(())
}
