//! A host's evidence: collected after a breach, sealed with the agent's key, and
//! streamed away.
//!
//! Invariants: nothing on the host is changed: nothing is written to a disk, and
//! files are read without a trace where the kernel allows it; each item and the
//! whole have bounds in size and time; what is not all there says so; nothing of it
//! needs a coordinator. What a process of an intruder's own kernel shows may be a
//! lie: the seal says who collected it, not that it is true.

mod archive;
mod config;
mod docker;
mod files;
mod integrity;
mod processes;
mod programs;

pub use archive::EndError;
pub use config::{EvidenceCommand, EvidenceConfig};

use archive::{Archive, Packed, Source};
use certs::{Fingerprint, Trust};
use daemon::durable::{self, DurableError};
use docker::Engine;
use files::Whole;
use integrity::Listing;
use model::{
    HostId,
    evidence::{self, Manifest},
};
use programs::Program;
use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The baseline's file in the state directory.
pub const BASELINE: &str = "evidence-baseline.txt";
/// The largest baseline that is read: a million lines.
const BASELINE_MAX: u64 = 256 << 20;
/// How long the whole may take; items after that are left out, and named.
const TOTAL_LIMIT: Duration = Duration::from_secs(1800);
/// Users whose keys are looked for.
const USERS_MAX: usize = 1000;
/// How long each of the host's own programs may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(60);

/// Programs that every host may have, by the item's name; one that is not there is
/// noted. None of them changes anything.
const PROGRAMS: [(&str, &[&str]); 12] = [
    ("sockets-ss", &["ss", "-tuanpeim"]),
    ("firewall-nft", &["nft", "list", "ruleset"]),
    ("firewall-iptables", &["iptables-save"]),
    ("firewall-ip6tables", &["ip6tables-save"]),
    ("addresses", &["ip", "address"]),
    ("routes", &["ip", "route", "show", "table", "all"]),
    ("sessions", &["who", "-a"]),
    ("logins", &["last", "-n", "500"]),
    ("packages-dpkg", &["dpkg", "-l"]),
    ("packages-rpm", &["rpm", "-qa", "--last"]),
    ("units", &["systemctl", "list-units", "--all", "--no-pager"]),
    ("modules", &["lsmod"]),
];

/// Files that every host may have.
const FILES: [(&str, &str); 17] = [
    ("os", "/etc/os-release"),
    ("kernel", "/proc/version"),
    ("boot", "/proc/stat"),
    ("mounts", "/proc/self/mounts"),
    ("users", "/etc/passwd"),
    ("groups", "/etc/group"),
    ("sudoers", "/etc/sudoers"),
    ("crontab", "/etc/crontab"),
    ("hosts", "/etc/hosts"),
    ("resolver", "/etc/resolv.conf"),
    ("sockets-tcp", "/proc/net/tcp"),
    ("sockets-tcp6", "/proc/net/tcp6"),
    ("sockets-udp", "/proc/net/udp"),
    ("sockets-udp6", "/proc/net/udp6"),
    ("sockets-raw", "/proc/net/raw"),
    ("sockets-packet", "/proc/net/packet"),
    ("sockets-unix", "/proc/net/unix"),
];

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// agent.toml has no such command.
    #[error("agent.toml has no [[evidence.command]] `{name}`; it has: {known}")]
    NoCommand {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// There is nothing to list.
    #[error("agent.toml names no trees; write: [evidence] trees = [\"/etc\", \"/usr/local\"]")]
    NoTrees,
    /// A tree cannot be read.
    #[error("the listing is not whole, and would be no baseline: {0}")]
    Listing(String),
    /// The archive has no end.
    #[error(transparent)]
    End(#[from] EndError),
    /// It cannot be written.
    #[error("cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The baseline cannot be kept.
    #[error(transparent)]
    Keep(#[from] DurableError),
}

/// What is collected, and by whom.
#[derive(Debug)]
pub struct Collector<'a> {
    /// Whose evidence it is.
    pub host: &'a HostId,
    /// Where a baseline is kept.
    pub state_dir: &'a Path,
    /// What agent.toml says.
    pub config: &'a EvidenceConfig,
    /// Commands that are run besides those that always are.
    pub with: &'a [String],
}

impl Collector<'_> {
    /// Writes the archive.
    ///
    /// # Errors
    /// [`EvidenceError`]: a command that is not there, or nobody takes the archive.
    pub fn collect(&self, trust: &Trust, out: impl Write) -> Result<Manifest, EvidenceError> {
        if let Some(name) =
            self.with.iter().find(|name| self.config.commands.iter().all(|of| of.name != **name))
        {
            let known: Vec<&str> = self.config.commands.iter().map(|of| of.name.as_str()).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(EvidenceError::NoCommand { name: name.clone(), known });
        }
        let archive = Archive::begin(out, self.host.clone(), certs::now(), self.config.total_bytes);
        let mut run = Run { archive, config: self.config, until: Instant::now() + TOTAL_LIMIT };
        // What goes away soonest comes first.
        run.bytes("processes", "/proc", processes::list().as_bytes())?;
        for (name, path) in FILES {
            run.file(name, Path::new(path))?;
        }
        for (name, words) in PROGRAMS {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            run.program(name, &words, PROGRAM_LIMIT)?;
        }
        run.keys()?;
        run.containers()?;
        run.journal()?;
        run.logs()?;
        self.integrity(&mut run)?;
        for command in &self.config.commands {
            if command.always || self.with.contains(&command.name) {
                let name = format!("command-{}", command.name);
                run.program(&name, &command.program, command.limit)?;
            }
        }
        let cut = run.why_not();
        Ok(run.archive.end(trust, cut)?)
    }

    /// The listing as it is, to be compared elsewhere; and with what is kept here.
    fn integrity<W: Write>(&self, run: &mut Run<'_, W>) -> io::Result<()> {
        if self.config.trees.is_empty() {
            run.archive.missing("integrity", "[evidence] trees", "agent.toml names none".into());
            return Ok(());
        }
        let how = self.config.trees.iter().map(|tree| tree.display().to_string());
        let how = how.collect::<Vec<_>>().join(" ");
        let path = self.state_dir.join(BASELINE);
        let baseline = read_baseline(&path);
        let text = matches!(baseline, Ok(Some(_))).then(Vec::new);
        let mut kept = Kept { listing: Listing::of(&self.config.trees), text };
        run.item("integrity", &how, Packed::Plain, &mut kept)?;
        let now = kept.text.unwrap_or_default();
        let how = path.display().to_string();
        match baseline {
            Ok(Some(baseline)) => {
                let lines = evidence::difference(&baseline, &String::from_utf8_lossy(&now));
                let text = format!(
                    "baseline {}: SHA-256 {}\n{} difference(s)\n{}\n",
                    path.display(),
                    Fingerprint::of(baseline.as_bytes()),
                    lines.len(),
                    lines.join("\n")
                );
                run.bytes("integrity-difference", &how, text.as_bytes())
            }
            Ok(None) => {
                let why =
                    "no baseline is kept here; `understudy-agent evidence baseline` makes one";
                run.archive.missing("integrity-difference", &how, why.into());
                Ok(())
            }
            Err(error) => {
                run.archive.missing("integrity-difference", &how, error.to_string());
                Ok(())
            }
        }
    }

    /// Writes the listing of the declared trees to `out`.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn listing(&self, out: &mut impl Write) -> Result<(), EvidenceError> {
        if self.config.trees.is_empty() {
            return Err(EvidenceError::NoTrees);
        }
        let mut listing = Listing::of(&self.config.trees);
        io::copy(&mut listing, out)?;
        match listing.cut() {
            cut if cut.is_empty() => Ok(()),
            cut => Err(EvidenceError::Listing(cut)),
        }
    }

    /// Keeps the listing as this host's baseline; gives its file and its digest.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn keep_baseline(&self) -> Result<(PathBuf, Fingerprint), EvidenceError> {
        let mut text = Vec::new();
        self.listing(&mut text)?;
        let path = self.state_dir.join(BASELINE);
        durable::write_atomic(&path, &text, 0o600)?;
        Ok((path, Fingerprint::of(&text)))
    }
}

fn read_baseline(path: &Path) -> io::Result<Option<String>> {
    let file = match files::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(BASELINE_MAX).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// A listing that is also remembered where there is something to compare it with.
struct Kept {
    listing: Listing,
    text: Option<Vec<u8>>,
}

impl Read for Kept {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.listing.read(buffer)?;
        if let Some(text) = &mut self.text {
            text.extend_from_slice(&buffer[..length]);
        }
        Ok(length)
    }
}

impl Source for Kept {
    fn fault(&mut self) -> String {
        self.listing.cut()
    }
}

/// A collecting under way.
struct Run<'a, W> {
    archive: Archive<W>,
    config: &'a EvidenceConfig,
    until: Instant,
}

impl<W: Write> Run<'_, W> {
    /// Empty, or why nothing more is collected.
    fn why_not(&self) -> String {
        if self.archive.full() {
            return format!("the archive is full ({} bytes)", self.config.total_bytes);
        }
        if Instant::now() >= self.until {
            return format!("it took longer than {} s", TOTAL_LIMIT.as_secs());
        }
        String::new()
    }

    fn item(
        &mut self,
        name: &str,
        how: &str,
        packed: Packed,
        source: &mut dyn Source,
    ) -> io::Result<()> {
        match self.why_not() {
            why if why.is_empty() => {
                self.archive.item((name, how), packed, self.config.item_bytes, source)
            }
            why => {
                self.archive.missing(name, how, why);
                Ok(())
            }
        }
    }

    fn bytes(&mut self, name: &str, how: &str, mut bytes: &[u8]) -> io::Result<()> {
        self.item(name, how, Packed::Zstd, &mut bytes)
    }

    fn file(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let how = path.display().to_string();
        match Whole::open(path) {
            Ok(mut file) => self.item(name, &how, Packed::Zstd, &mut file),
            Err(error) => {
                self.archive.missing(name, &how, error.to_string());
                Ok(())
            }
        }
    }

    fn program(&mut self, name: &str, words: &[String], limit: Duration) -> io::Result<()> {
        let how = words.join(" ");
        let limit = limit.min(self.until.saturating_duration_since(Instant::now()));
        match Program::start(words, limit) {
            Ok(mut program) => self.item(name, &how, Packed::Zstd, &mut program),
            Err(error) => {
                self.archive.missing(name, &how, error.to_string());
                Ok(())
            }
        }
    }

    /// Who may log in by a key, user by user.
    fn keys(&mut self) -> io::Result<()> {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        for (number, user) in users.lines().take(USERS_MAX).enumerate() {
            let Some(home) = user.split(':').nth(5).filter(|home| home.len() > 1) else { continue };
            let path = Path::new(home).join(".ssh/authorized_keys");
            if path.exists() {
                self.file(&format!("keys-{number:04}"), &path)?;
            }
        }
        Ok(())
    }

    fn journal(&mut self) -> io::Result<()> {
        let since = format!("--since={}", self.config.journal_since);
        let words = ["journalctl", "--no-pager", "--quiet", "--output=short-iso-precise", &since];
        self.program("journal", &words.map(str::to_owned), 5 * PROGRAM_LIMIT)
    }

    fn logs(&mut self) -> io::Result<()> {
        let config = self.config;
        for (at, declared) in config.logs.iter().enumerate() {
            let (found, faults) = files::below(declared);
            for (number, path) in found.iter().enumerate() {
                self.file(&format!("log-{at:02}-{number:05}"), path)?;
            }
            if !faults.is_empty() {
                let how = declared.display().to_string();
                self.archive.missing(&format!("log-{at:02}"), &how, faults.join("; "));
            }
        }
        Ok(())
    }

    fn containers(&mut self) -> io::Result<()> {
        let how = self.config.socket.display().to_string();
        let found = match Engine::connect(&self.config.socket) {
            None => Err("there is no such socket".to_owned()),
            Some(engine) => engine.and_then(|engine| Ok((engine.containers()?, engine))),
        };
        let (containers, engine) = match found {
            Ok(found) => found,
            Err(why) => {
                self.archive.missing("containers", &how, why);
                return Ok(());
            }
        };
        for container in containers {
            let short = container.id.get(..12).unwrap_or(&container.id);
            let (name, who) = (format!("container-{short}"), format!("of {}", container.name));
            match engine.inspect(&container.id, self.config.environment) {
                Ok(json) => self.bytes(&format!("{name}-inspect"), &who, &json)?,
                Err(why) => self.archive.missing(&format!("{name}-inspect"), &who, why),
            }
            let mut log = engine.log(&container.id);
            self.item(&format!("{name}-log"), &who, Packed::Zstd, &mut log)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
