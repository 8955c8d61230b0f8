//! `[peer]` of agent.toml, checked.

use crate::coordinators::is_address;
use model::HostId;
use serde::Deserialize;
use std::{net::SocketAddr, path::PathBuf};

/// `[peer]`: where this agent answers other agents (A6).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct PeerConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What other agents dial, "host:port".
    pub advertise: String,
    /// Where backups of other hosts are kept, where they are.
    pub backups: Option<KeepConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    advertise: Option<String>,
    backups: Option<KeepConfig>,
}

/// `[peer.backups]`: what this agent keeps of other hosts' backups.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawKeep")]
pub struct KeepConfig {
    /// Where; each host has a directory of its own in it.
    pub directory: PathBuf,
    /// Who may send.
    pub hosts: Vec<HostId>,
    /// Who may read every host's.
    pub readers: Vec<HostId>,
    /// The most that one host may fill, in bytes.
    pub max_bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeep {
    directory: PathBuf,
    hosts: Vec<HostId>,
    #[serde(default)]
    readers: Vec<HostId>,
    max_mib: u64,
}

impl TryFrom<RawKeep> for KeepConfig {
    type Error = String;
    fn try_from(raw: RawKeep) -> Result<Self, String> {
        if !raw.directory.is_absolute() {
            return Err(format!(
                "directory: `{}` is not absolute; write for example \"/var/lib/understudy-backups\"",
                raw.directory.display()
            ));
        }
        if raw.hosts.is_empty() {
            return Err("hosts: nobody may send; write for example hosts = [\"p1\"]".into());
        }
        let max_bytes = raw.max_mib.checked_mul(1 << 20).filter(|bytes| *bytes > 0);
        let max_bytes = max_bytes.ok_or("max_mib: write how many MiB one host may fill")?;
        let (directory, hosts, readers) = (raw.directory, raw.hosts, raw.readers);
        Ok(Self { directory, hosts, readers, max_bytes })
    }
}

/// Why `[peer]` makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerConfigError {
    /// Not an address of this machine's.
    #[error("[peer] listen = \"{0}\" is not IP:PORT; write for example \"0.0.0.0:7444\"")]
    Listen(String),
    /// Nothing that others could dial.
    #[error(
        "[peer] listens on every address, so it must say which one other agents dial: \
         add advertise = \"HOST:PORT\""
    )]
    NoAdvertise,
    /// Not of the form host:port.
    #[error("[peer] advertise = \"{0}\" is not of the form host:port")]
    Advertise(String),
}

impl TryFrom<Raw> for PeerConfig {
    type Error = PeerConfigError;
    fn try_from(raw: Raw) -> Result<Self, PeerConfigError> {
        let listen: SocketAddr =
            raw.listen.parse().map_err(|_| PeerConfigError::Listen(raw.listen.clone()))?;
        let advertise = match raw.advertise {
            Some(given) if is_address(&given) => given,
            Some(given) => return Err(PeerConfigError::Advertise(given)),
            None if listen.ip().is_unspecified() => return Err(PeerConfigError::NoAdvertise),
            None => listen.to_string(),
        };
        Ok(Self { listen, advertise, backups: raw.backups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PeerConfig, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_others_cannot_dial_is_refused_in_words() {
        let one = read("listen = \"192.0.2.1:7444\"").unwrap();
        assert_eq!(one.advertise, "192.0.2.1:7444");
        let named = read("listen = \"0.0.0.0:7444\"\nadvertise = \"p1.example:7444\"").unwrap();
        assert_eq!(named.advertise, "p1.example:7444");
        for (text, words) in [
            ("listen = \"0.0.0.0:7444\"", "add advertise"),
            ("listen = \"p1:7444\"", "is not IP:PORT"),
            ("listen = \"192.0.2.1:7444\"\nadvertise = \"p1\"", "host:port"),
            ("listen = \"192.0.2.1:7444\"\nport = 1", "unknown field"),
            (
                "listen = \"192.0.2.1:7444\"\n[backups]\ndirectory = \"/b\"\nhosts = []\nmax_mib = 1",
                "nobody may send",
            ),
            (
                "listen = \"192.0.2.1:7444\"\n[backups]\ndirectory = \"b\"\nhosts = [\"p1\"]\nmax_mib = 1",
                "absolute",
            ),
            (
                "listen = \"192.0.2.1:7444\"\n[backups]\ndirectory = \"/b\"\nhosts = [\"p1\"]\nmax_mib = 0",
                "how many MiB",
            ),
            (
                "listen = \"192.0.2.1:7444\"\n[backups]\ndirectory = \"/b\"\nhosts = [\"../p1\"]\nmax_mib = 9",
                "host",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(words), "{error:?} does not say {words:?}");
        }
    }
}
