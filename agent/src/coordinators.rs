//! Where the coordinators are: `coordinators.json` in the state directory,
//! written at enrolment and kept current by their welcomes.

use daemon::durable::{self, DurableError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file's name in the state directory.
pub const FILE: &str = "coordinators.json";
/// Coordinators that are called at most: an installation has three, and five
/// while two are being replaced.
pub const COORDINATORS_MAX: usize = 8;

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorsError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] DurableError),
    /// It holds something else.
    #[error(
        "{} is damaged ({reason}); run `understudy-agent enroll` again, or name the \
         coordinators in agent.toml", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Not enrolled.
    #[error(
        "no coordinators are known: {} is not there and agent.toml names none; \
         run `understudy-agent enroll --token T` first", path.display()
    )]
    None {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    coordinators: Vec<String>,
}

/// Whether a text has the form `host:port`; IPv6 addresses stand in brackets.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        let odd = |c: char| c.is_whitespace() || c == '/';
        let port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        !host.is_empty() && !bare_v6 && !host.contains(odd) && port
    })
}

/// Reads the list. Blocks.
///
/// # Errors
/// [`CoordinatorsError`]: not there, damaged, or not readable.
pub fn load(state_dir: &Path) -> Result<Vec<String>, CoordinatorsError> {
    let path = state_dir.join(FILE);
    let Some(bytes) = durable::read_optional(&path)? else {
        return Err(CoordinatorsError::None { path });
    };
    let damaged = |reason: String| CoordinatorsError::Damaged { path: path.clone(), reason };
    let file: File = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let count = file.coordinators.len();
    if count == 0 || count > COORDINATORS_MAX {
        return Err(damaged(format!("it names {count} coordinators, not 1 to {COORDINATORS_MAX}")));
    }
    match file.coordinators.iter().find(|address| !is_address(address)) {
        Some(bad) => Err(damaged(format!("`{bad}` is not of the form host:port"))),
        None => Ok(file.coordinators),
    }
}

/// Writes the list. Blocks.
///
/// # Errors
/// [`CoordinatorsError::File`].
pub fn save(state_dir: &Path, list: &[String]) -> Result<(), CoordinatorsError> {
    let file = File { coordinators: list.to_vec() };
    Ok(durable::write_json(&state_dir.join(FILE), &file, 0o600)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_back_and_every_fault_has_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let words = || load(dir.path()).unwrap_err().to_string();
        assert!(words().contains("understudy-agent enroll"), "{}", words());
        let list = vec!["192.0.2.1:7443".to_owned(), "[2001:db8::1]:7443".to_owned()];
        save(dir.path(), &list).unwrap();
        assert_eq!(load(dir.path()).unwrap(), list);
        for bad in ["", "{}", "{\"coordinators\":[]}", "{\"coordinators\":[\"c1\"]}"] {
            std::fs::write(dir.path().join(FILE), bad).unwrap();
            assert!(words().contains("is damaged"), "{bad}: {}", words());
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["c1:7443", "192.0.2.1:1", "[::1]:7443", "c1.example.org:65535"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["c1", ":7443", "c1:", "c1:65536", "::1:7443", "http://c1:1", "c 1:1", "c1:+1"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
