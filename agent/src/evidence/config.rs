//! `[evidence]` of agent.toml, checked: what is collected beside what every host has.

use daemon::{command, config::Span};
use serde::Deserialize;
use std::{path::PathBuf, time::Duration};

/// How far back the journal is read: a breach is found days later.
const JOURNAL_SINCE: &str = "-7days";
/// What one item may have, by default: a week of a chatty container.
const ITEM_MIB: u64 = 256;
/// What an archive may have, by default: half an hour of a 10 Mbit/s line.
const TOTAL_MIB: u64 = 2048;
/// Bounds of both: a tar's field for a length ends at 8 GiB.
const MIB_MAX: u64 = 8191;
/// How long a program of ours or yours may take, by default.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// Entries of each list.
const LIST_MAX: usize = 64;

/// `[evidence]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct EvidenceConfig {
    /// Logs: files, and directories with all that is in them.
    pub logs: Vec<PathBuf>,
    /// What a baseline covers: files, and directories with all that is in them.
    pub trees: Vec<PathBuf>,
    /// How far back the journal is read, as journalctl understands it.
    pub journal_since: String,
    /// Whether values of containers' environments are shown.
    pub environment: bool,
    /// What one item may have, bytes.
    pub item_bytes: u64,
    /// What an archive may have, bytes.
    pub total_bytes: u64,
    /// Docker's socket.
    pub socket: PathBuf,
    /// Programs whose output belongs to it.
    pub commands: Vec<EvidenceCommand>,
}

/// A program whose output is evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceCommand {
    /// Its name.
    pub name: String,
    /// The program and its arguments.
    pub program: Vec<String>,
    /// Whether it is run without being asked for by its name.
    pub always: bool,
    /// How long it may take.
    pub limit: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    logs: Vec<PathBuf>,
    trees: Vec<PathBuf>,
    journal_since: String,
    environment: bool,
    item_mib: u64,
    total_mib: u64,
    socket: PathBuf,
    command: Vec<RawCommand>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    name: String,
    program: Vec<String>,
    #[serde(default)]
    always: bool,
    limit: Option<Span>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            logs: Vec::new(),
            trees: Vec::new(),
            journal_since: JOURNAL_SINCE.into(),
            environment: false,
            item_mib: ITEM_MIB,
            total_mib: TOTAL_MIB,
            socket: "/var/run/docker.sock".into(),
            command: Vec::new(),
        }
    }
}

impl Default for EvidenceConfig {
    fn default() -> Self {
        Self::of(Raw::default())
    }
}

impl TryFrom<Raw> for EvidenceConfig {
    type Error = String;
    fn try_from(raw: Raw) -> Result<Self, String> {
        let lists = [("logs", &raw.logs), ("trees", &raw.trees)];
        for (field, list) in lists {
            if list.len() > LIST_MAX {
                return Err(format!("[evidence] {field}: at most {LIST_MAX} are possible"));
            }
            if let Some(path) = list.iter().find(|path| !path.is_absolute()) {
                let path = path.display();
                return Err(format!("[evidence] {field}: `{path}` is not an absolute path"));
            }
        }
        for (field, mib) in [("item_mib", raw.item_mib), ("total_mib", raw.total_mib)] {
            if !(1..=MIB_MAX).contains(&mib) {
                return Err(format!("[evidence] {field} = {mib}; 1 to {MIB_MAX} are possible"));
            }
        }
        if raw.journal_since.is_empty() || raw.journal_since.contains(char::is_control) {
            return Err("[evidence] journal_since: write for example \"-7days\"".into());
        }
        if raw.command.len() > LIST_MAX {
            return Err(format!("[[evidence.command]]: at most {LIST_MAX} are possible"));
        }
        for (at, one) in raw.command.iter().enumerate() {
            check(one)?;
            if raw.command[..at].iter().any(|other| other.name == one.name) {
                return Err(format!("[[evidence.command]]: `{}` is there twice", one.name));
            }
        }
        Ok(Self::of(raw))
    }
}

/// A name is part of members' names in the archive.
fn check(one: &RawCommand) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if one.name.is_empty() || one.name.len() > 40 || !one.name.chars().all(known) {
        return Err(format!(
            "[[evidence.command]] name = \"{}\": letters, digits, `-` and `_`, at most 40",
            one.name
        ));
    }
    match command::fault(&one.program) {
        Some(fault) => Err(format!("[[evidence.command]] `{}`: program: {fault}", one.name)),
        None => Ok(()),
    }
}

impl EvidenceConfig {
    fn of(raw: Raw) -> Self {
        let command = |one: RawCommand| EvidenceCommand {
            name: one.name,
            program: one.program,
            always: one.always,
            limit: one.limit.map_or(COMMAND_LIMIT, Duration::from),
        };
        Self {
            logs: raw.logs,
            trees: raw.trees,
            journal_since: raw.journal_since,
            environment: raw.environment,
            item_bytes: raw.item_mib << 20,
            total_bytes: raw.total_mib << 20,
            socket: raw.socket,
            commands: raw.command.into_iter().map(command).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_its_field() {
        let read = |text: &str| toml::from_str::<EvidenceConfig>(text).map_err(|e| e.to_string());
        let all = "logs = [\"/var/log/app\"]\ntrees = [\"/etc\"]\nitem_mib = 1\n\
                   [[command]]\nname = \"db\"\nprogram = [\"/bin/true\"]\nlimit = \"5s\"";
        let good = read(all).unwrap();
        assert_eq!((good.item_bytes, good.commands[0].limit), (1 << 20, Duration::from_secs(5)));
        assert!(!good.environment && !good.commands[0].always);
        assert_eq!(read("").unwrap(), EvidenceConfig::default());
        let command = |name: &str, program: &str| {
            format!("[[command]]\nname = \"{name}\"\nprogram = [\"{program}\"]\n")
        };
        let twice = command("db", "/bin/true").repeat(2);
        for (bad, words) in [
            ("logs = [\"app.log\"]", "not an absolute path"),
            ("item_mib = 0", "item_mib = 0"),
            ("total_mib = 9000", "total_mib"),
            ("journal_since = \"\"", "journal_since"),
            ("journal = 1", "unknown field"),
            (&command("../x", "/bin/true"), "name"),
            (&command("db", "true"), "absolute path"),
            (&twice, "twice"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }
}
