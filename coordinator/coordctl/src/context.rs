//! The context directory: the operator's credentials and which coordinators to dial.
//!
//! The credentials themselves are `certs`' business. The list of coordinators
//! learns new members by itself, because an operator whose only known
//! coordinator has died is blind.

use crate::end::Failure;
use daemon::{config, durable};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file that makes a directory a context.
pub(crate) const FILE: &str = "context.toml";
/// More coordinators than any installation has; a longer list is a mistake.
const COORDINATORS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    coordinators: Vec<String>,
}

/// Where the operator's things are, and whom to dial.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// `host:port` of each coordinator known.
    pub(crate) coordinators: Vec<String>,
}

/// The context directory: as given, or the one in the operator's home.
pub(crate) fn directory(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(dir) = given {
        return Ok(dir.to_path_buf());
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("understudy"))
        .ok_or_else(|| {
            Failure::usage(
                "neither HOME nor XDG_CONFIG_HOME is set, so there is no default context",
            )
            .hint("name the context directory with --context DIR")
        })
}

/// Whether `text` is `host:port`, the host possibly an IPv6 address in brackets.
pub(crate) fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_ok = match bare {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            }
        };
        host_ok && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

impl Context {
    /// Reads a context directory.
    pub(crate) fn load(given: Option<&Path>) -> Result<Self, Failure> {
        let dir = directory(given)?;
        let path = dir.join(FILE);
        if !path.exists() {
            return Err(Failure::usage(format!("there is no context in {}", dir.display())).hint(
                "run `coordctl init` for a new installation, or copy an operator's context \
                 directory here, or name one with --context DIR",
            ));
        }
        let wrong = |message: String| {
            Failure::usage(message)
                .hint("it should read: coordinators = [\"192.0.2.1:7443\", \"192.0.2.2:7443\"]")
        };
        let (file, source) =
            config::load_with_source::<File>(&path).map_err(|error| wrong(error.to_string()))?;
        let shown = source.file();
        if file.coordinators.is_empty() {
            return Err(wrong(format!("{shown}: the list `coordinators` is empty")));
        }
        if file.coordinators.len() > COORDINATORS_MAX {
            return Err(wrong(format!(
                "{shown}: {} coordinators are listed; at most {COORDINATORS_MAX} are dialled",
                file.coordinators.len()
            )));
        }
        if let Some(bad) = file.coordinators.iter().find(|address| !is_address(address)) {
            return Err(wrong(format!("{shown}: `{bad}` is not HOST:PORT")));
        }
        Ok(Self { dir, coordinators: file.coordinators })
    }

    /// Writes `context.toml`.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let file = File { coordinators: self.coordinators.clone() };
        let body = toml::to_string(&file)
            .map_err(|error| Failure::failed(format!("cannot write {FILE}: {error}")))?;
        let text =
            format!("# The coordinators that coordctl dials; it adds new ones itself.\n{body}");
        Ok(durable::write_atomic(&self.dir.join(FILE), text.as_bytes(), 0o600)?)
    }

    /// Adds members that are not listed yet; whether there was one.
    pub(crate) fn learn<'a>(&mut self, addresses: impl Iterator<Item = &'a str>) -> bool {
        let before = self.coordinators.len();
        for address in addresses {
            let known = self.coordinators.iter().any(|known| known == address);
            if !known && is_address(address) && self.coordinators.len() < COORDINATORS_MAX {
                self.coordinators.push(address.to_owned());
            }
        }
        self.coordinators.len() > before
    }

    /// Drops a member that was removed; the last address stays. Whether it was listed.
    pub(crate) fn forget(&mut self, address: &str) -> bool {
        let before = self.coordinators.len();
        if before > 1 {
            self.coordinators.retain(|known| known != address);
        }
        self.coordinators.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Result<Context, Failure> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        Context::load(Some(dir.path()))
    }

    #[test]
    fn a_context_is_read_written_and_learns() {
        let dir = tempfile::tempdir().unwrap();
        let mut context =
            Context { dir: dir.path().into(), coordinators: vec!["192.0.2.1:7443".into()] };
        assert!(context.learn(["192.0.2.1:7443", "[2001:db8::1]:7443", "nonsense"].into_iter()));
        assert!(!context.learn(["192.0.2.1:7443"].into_iter()));
        context.save().unwrap();
        let mut read = Context::load(Some(dir.path())).unwrap();
        assert_eq!(read.coordinators, ["192.0.2.1:7443", "[2001:db8::1]:7443"]);
        assert!(read.forget("192.0.2.1:7443"));
        assert!(!read.forget("[2001:db8::1]:7443"), "the last one stays");
    }

    #[test]
    fn a_bad_context_says_what_and_where() {
        for (text, part) in [
            ("coordinators = []", "is empty"),
            ("coordinators = [\"c1\"]", "`c1` is not HOST:PORT"),
            ("coordinators = [\"c1:0\"]", "not HOST:PORT"),
            ("coordinator = [\"c1:1\"]", "context.toml:1:1"),
        ] {
            let failure = written(text).unwrap_err();
            assert_eq!(failure.end.code(), 2, "{text}");
            assert!(failure.message.contains(part), "{text}: {failure}");
        }
        let missing = Context::load(Some(Path::new("/nonexistent"))).unwrap_err();
        assert!(missing.hint.contains("coordctl init"), "{}", missing.hint);
    }
}
