//! `[[repository]]` and `[[backup]]` of agent.toml: where copies go, and of what.
//!
//! Each table's own fields are checked where they are defined; here stands what
//! concerns several: names used twice, a repository that is not there, secrets
//! that would land beside plain data.

mod container;
mod field;
mod repository;
mod source;
mod target;
pub(crate) mod when;

pub use repository::{Keep, RepositoryConfig};
pub use source::{
    CommandSource, ComposeVolume, ContainerName, FilesSource, Kind, PathsSource, Quiesce,
    SourceConfig, VolumeName, VolumeSource,
};
pub use target::{AgentTarget, RcloneTarget, RestTarget, S3Target, Target};
pub use when::{VerifyTurn, When};

use daemon::config::{self, ConfigError, Faults, Source, Spanned};
use serde::Deserialize;
use std::path::PathBuf;

/// Everything that `understudy-agent backup` goes by.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where copies go.
    pub repositories: Vec<RepositoryConfig>,
    /// What is copied.
    pub sources: Vec<SourceConfig>,
    /// This host's name, written into every snapshot.
    pub host: String,
    /// Where scratch copies are made (verification of level 3).
    pub state_dir: PathBuf,
    /// The agent's own credentials, for copies that another host keeps.
    pub pki: PathBuf,
    /// Containers that may act on one site only. They are never started from here.
    pub exclusive: Vec<ContainerName>,
}

impl Config {
    /// The repositories of a source, the first of them the one to be asked first.
    /// [`check`] has made sure that there is one.
    #[must_use]
    pub fn repositories_of(&self, source: &SourceConfig) -> Vec<&RepositoryConfig> {
        if source.repositories.is_empty() {
            let mut fitting = self.repositories.iter().filter(|of| of.secrets == source.secret);
            return fitting.next().into_iter().collect();
        }
        let named = |name: &String| self.repositories.iter().find(|known| known.name == *name);
        source.repositories.iter().filter_map(named).collect()
    }

    /// A source by its name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&SourceConfig> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// How long copies of a source are kept in a repository.
    #[must_use]
    pub fn keep_of(&self, source: &SourceConfig, repository: &RepositoryConfig) -> Keep {
        source.keep.unwrap_or(repository.keep)
    }
}

/// Where the names stand.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    repository: Vec<Place>,
    #[serde(default)]
    backup: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    name: Spanned<String>,
    repository: Option<Spanned<toml::Value>>,
    path: Option<Spanned<String>>,
}

/// Checks what concerns several tables, and tells the faults with their places.
///
/// # Errors
/// [`ConfigError`]: the text is not TOML of this form.
pub fn check(
    source: &Source,
    repositories: &[RepositoryConfig],
    sources: &[SourceConfig],
    faults: &mut Faults,
) -> Result<(), ConfigError> {
    let places: Places = config::parse_source(source)?;
    source.names_once("repository", places.repository.iter().map(|place| &place.name), faults);
    source.names_once("backup", places.backup.iter().map(|place| &place.name), faults);
    for (at, place) in places.repository.iter().enumerate() {
        let Some(path) = &place.path else { continue };
        let same =
            |other: &Place| other.path.as_ref().is_some_and(|p| p.get_ref() == path.get_ref());
        if places.repository[..at].iter().any(same) {
            let field = format!("repository[{at}].path");
            let message = format!("another repository is at `{}` already", path.get_ref());
            faults.push(source.fault_at(path, field, message, "give each its own directory"));
        }
    }
    for (at, (backup, place)) in sources.iter().zip(&places.backup).enumerate() {
        if let Err((message, hint)) = repository_fits(repositories, backup) {
            let (field, span) = match &place.repository {
                Some(named) => (format!("backup[{at}].repository"), named.span()),
                None => (format!("backup[{at}]"), place.name.span()),
            };
            faults.push(source.fault(span, field, message, hint));
        }
    }
    Ok(())
}

/// Whether a source has repositories to go to, or what is wrong and what to do.
fn repository_fits(
    repositories: &[RepositoryConfig],
    backup: &SourceConfig,
) -> Result<(), (String, String)> {
    let names = |list: Vec<&RepositoryConfig>| -> String {
        let names: Vec<&str> = list.iter().map(|known| known.name.as_str()).collect();
        if names.is_empty() { "there are none".into() } else { names.join(", ") }
    };
    let fitting: Vec<&RepositoryConfig> =
        repositories.iter().filter(|known| known.secrets == backup.secret).collect();
    let word = if backup.secret { "repository with `secrets = true`" } else { "repository" };
    if backup.repositories.is_empty() {
        return match fitting.len() {
            1 => Ok(()),
            0 => Err((
                format!("there is no {word} for it"),
                format!(
                    "add a [[repository]]{}",
                    if backup.secret { " with secrets = true" } else { "" }
                ),
            )),
            _ => Err((
                "there are several repositories, and it names none".into(),
                format!("write repository = \"NAME\"; NAME is one of: {}", names(fitting)),
            )),
        };
    }
    for wanted in &backup.repositories {
        let found = repositories.iter().find(|known| known.name == *wanted).ok_or_else(|| {
            (
                format!("there is no repository `{wanted}`"),
                format!("repositories here: {}", names(repositories.iter().collect())),
            )
        })?;
        of_its_kind(found, backup)?;
    }
    Ok(())
}

/// Secrets and plain data do not meet.
fn of_its_kind(
    repository: &RepositoryConfig,
    backup: &SourceConfig,
) -> Result<(), (String, String)> {
    let name = &repository.name;
    match (repository.secrets, backup.secret) {
        (true, false) => Err((
            format!("repository `{name}` is for secrets alone"),
            "add secret = true to this source, or name another repository".into(),
        )),
        (false, true) => Err((
            format!("repository `{name}` holds plain data, and this source is secret"),
            "give secrets a [[repository]] of their own, with secrets = true and its own key"
                .into(),
        )),
        (true, true) | (false, false) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
