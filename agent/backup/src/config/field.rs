//! Checks of single fields that several tables have.

use daemon::config::Span;
use serde::Deserialize;
use std::{
    path::{Component, Path},
    time::Duration,
};

/// Bounds of both: a day is a hang.
const LIMIT_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// Names of sources and repositories: 1 to 63 of `a-z 0-9 - _ .`, first a letter
/// or digit. They become names of directories within a snapshot.
pub(super) fn name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if first && name.len() <= 63 && name.chars().all(good) {
        return Ok(());
    }
    Err(format!(
        "name: `{name}` is not a name; use 1 to 63 of a-z, 0-9, `-`, `_` and `.`, \
         beginning with a letter or digit"
    ))
}

/// A path of this host or of a container.
pub(super) fn absolute(field: &str, path: &Path) -> Result<(), String> {
    let plain =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
    if path.is_absolute() && plain {
        return Ok(());
    }
    Err(format!("{field}: `{}` is not an absolute path without `..`", path.display()))
}

/// How long something may take.
pub(super) fn limit(
    field: &str,
    given: Option<Span>,
    default: Duration,
) -> Result<Duration, String> {
    let limit = given.map_or(default, Span::duration);
    if limit < LIMIT_RANGE.0 || limit > LIMIT_RANGE.1 {
        return Err(format!("{field}: `{}` is not between 1s and 24h", Span(limit)));
    }
    Ok(limit)
}

/// `repository = "local"` or `repository = ["local", "standby"]`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a repository's name, or a list of names")]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn names(self) -> Result<Vec<String>, String> {
        let names = match self {
            Self::One(name) => vec![name],
            Self::More(names) => names,
        };
        if names.is_empty() {
            return Err("repository: an empty list; leave the line out, or name one".into());
        }
        let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
        if let Some((_, name)) = twice {
            return Err(format!("repository: `{name}` stands in the list twice"));
        }
        Ok(names)
    }
}
