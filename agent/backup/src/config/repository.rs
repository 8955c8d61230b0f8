//! A `[[repository]]`: in the restic format, somewhere, with its key, and how long
//! copies in it are kept.

use super::{
    Target,
    target::{AgentTarget, Given, RcloneTarget, RestTarget, S3Target},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How many copies each rule keeps. A copy stays when any rule wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The newest ones.
    #[serde(default)]
    pub last: u32,
    /// The newest of each of so many hours, days, ...
    #[serde(default)]
    pub hourly: u32,
    /// Days.
    #[serde(default)]
    pub daily: u32,
    /// Weeks, beginning on Monday.
    #[serde(default)]
    pub weekly: u32,
    /// Months.
    #[serde(default)]
    pub monthly: u32,
    /// Years.
    #[serde(default)]
    pub yearly: u32,
}

impl Default for Keep {
    /// Seven days, four weeks, twelve months, and the three newest whatever their age.
    fn default() -> Self {
        Self { last: 3, hourly: 0, daily: 7, weekly: 4, monthly: 12, yearly: 0 }
    }
}

impl Keep {
    const fn is_empty(&self) -> bool {
        self.last == 0
            && self.hourly == 0
            && self.daily == 0
            && self.weekly == 0
            && self.monthly == 0
            && self.yearly == 0
    }

    pub(super) fn checked(self, field: &str) -> Result<Self, String> {
        if self.is_empty() {
            return Err(format!(
                "{field}: it would keep nothing; write for example {field} = {{ last = 3, daily = 7 }}"
            ));
        }
        Ok(self)
    }
}

/// One `[[repository]]` of agent.toml.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct RepositoryConfig {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub target: Target,
    /// The file with its password: all that is needed to read it.
    pub password_file: PathBuf,
    /// Whether it is for secrets, and for them alone.
    pub secrets: bool,
    /// How long copies are kept where the source does not say.
    pub keep: Keep,
    /// Whether it outlives this host: only then do its copies count for an RPO.
    pub survives: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    path: Option<PathBuf>,
    agent: Option<AgentTarget>,
    s3: Option<S3Target>,
    rclone: Option<RcloneTarget>,
    rest: Option<RestTarget>,
    password_file: PathBuf,
    #[serde(default)]
    secrets: bool,
    #[serde(default)]
    keep: Keep,
    survives: Option<bool>,
}

impl TryFrom<Raw> for RepositoryConfig {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        super::field::name(&raw.name)?;
        if !raw.password_file.is_absolute() {
            return Err(format!(
                "password_file: `{}` is not absolute; write for example \"/etc/understudy/backup.key\"",
                raw.password_file.display()
            ));
        }
        let inside = raw.path.as_ref().is_some_and(|path| raw.password_file.starts_with(path));
        let given = Given {
            path: raw.path,
            agent: raw.agent,
            s3: raw.s3,
            rclone: raw.rclone,
            rest: raw.rest,
        };
        let target = given.one()?;
        if inside {
            return Err("password_file: the key lies within the repository that it opens; \
                        put it elsewhere, and a copy of it off this host"
                .into());
        }
        // What is elsewhere outlives this host; a directory may be a mount of elsewhere.
        let elsewhere = !matches!(target, Target::Directory(_));
        Ok(Self {
            name: raw.name,
            target,
            password_file: raw.password_file,
            secrets: raw.secrets,
            keep: raw.keep.checked("keep")?,
            survives: raw.survives.unwrap_or(elsewhere),
        })
    }
}
