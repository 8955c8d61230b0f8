//! `[gate]` of agent.toml and `gate = { ... }` of a service, checked.

use crate::isolation::TABLE_SUFFIX;
use serde::Deserialize;

/// The table's usual name; every other begins with it, so that no file of ours
/// can name a table of somebody else's.
const TABLE: &str = "understudy";

/// Longest name of a table: much less than nf_tables allows, for a screen.
const TABLE_MAX: usize = 48;

/// How deep a gated cgroup may lie below the hierarchy's root: the rules look
/// at each of these levels.
pub const CGROUP_LEVELS: usize = 4;

/// `[gate]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct GateConfig {
    /// Whether the agent keeps a gate at all (the default).
    pub enabled: bool,
    /// Our nftables table, of the family inet.
    pub table: String,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self { enabled: true, table: TABLE.into() }
    }
}

/// How the gate finds a service's traffic, beyond what its driver tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawService")]
pub struct ServiceGate {
    /// A cgroup below the root of the v2 hierarchy that its sockets live in, such
    /// as a systemd slice; without slashes at its ends.
    pub cgroup: Option<String>,
    /// The user that it runs as: a name or a number.
    pub user: Option<String>,
}

/// Why a gate's settings make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateConfigError {
    /// A table that could be somebody else's.
    #[error(
        "`{0}` is no name for the gate's table: write \"understudy\", or \"understudy_\" and \
         then letters, digits and '_', at most {TABLE_MAX} in all and no {TABLE_SUFFIX} at the end"
    )]
    Table(String),
    /// No cgroup below the root.
    #[error(
        "`{0}` is no cgroup: write its path below the root of the cgroup v2 hierarchy, such as \
         \"understudy-gated.slice\", with at most {CGROUP_LEVELS} parts"
    )]
    Cgroup(String),
    /// A user that cannot be told apart.
    #[error("`{0}` cannot be gated: give the service a user of its own, and write its name")]
    User(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default = "yes")]
    enabled: bool,
    table: Option<String>,
}

const fn yes() -> bool {
    true
}

impl TryFrom<Raw> for GateConfig {
    type Error = GateConfigError;
    fn try_from(raw: Raw) -> Result<Self, GateConfigError> {
        let table = raw.table.unwrap_or_else(|| TABLE.into());
        let ours = table.strip_prefix(TABLE).is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix('_').is_some_and(|rest| {
                    !rest.is_empty()
                        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                })
        });
        // The isolation's table is called after the gate's.
        if !ours || table.len() > TABLE_MAX || table.ends_with(TABLE_SUFFIX) {
            return Err(GateConfigError::Table(table));
        }
        Ok(Self { enabled: raw.enabled, table })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    cgroup: Option<String>,
    user: Option<String>,
}

impl TryFrom<RawService> for ServiceGate {
    type Error = GateConfigError;
    fn try_from(raw: RawService) -> Result<Self, GateConfigError> {
        let RawService { cgroup, user } = raw;
        let cgroup = match cgroup {
            None => None,
            Some(given) => match cgroup_path(&given) {
                Some(path) => Some(path),
                None => return Err(GateConfigError::Cgroup(given)),
            },
        };
        if let Some(user) = &user
            && (user == "root"
                || user == "0"
                || user.is_empty()
                || user.chars().any(|c| c.is_control() || c.is_whitespace()))
        {
            return Err(GateConfigError::User(user.clone()));
        }
        Ok(Self { cgroup, user })
    }
}

/// A cgroup's path below the root, without slashes at its ends; `None` for one
/// that is no such path or lies too deep.
pub(super) fn cgroup_path(given: &str) -> Option<String> {
    let path = given.trim_matches('/');
    let part = |part: &str| {
        let odd = |c: char| c.is_control() || matches!(c, '"' | '\\' | '*' | '$');
        !matches!(part, "" | "." | "..") && !part.contains(odd)
    };
    let parts: Vec<&str> = path.split('/').collect();
    (parts.len() <= CGROUP_LEVELS && parts.into_iter().all(part)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(text: &str) -> Result<GateConfig, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    fn service(text: &str) -> Result<ServiceGate, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_table_of_somebody_else_cannot_be_named() {
        assert_eq!(gate("").unwrap(), GateConfig::default());
        assert_eq!(gate("table = \"understudy_b\"").unwrap().table, "understudy_b");
        assert!(!gate("enabled = false").unwrap().enabled);
        for bad in [
            "filter",
            "understudyx",
            "understudy_",
            "understudy_a b",
            "understudy_\\n",
            "understudy_isolation",
        ] {
            let error = gate(&format!("table = \"{bad}\"")).expect_err(bad);
            assert!(error.contains("no name for the gate's table"), "{error}");
        }
    }

    #[test]
    fn a_services_cgroup_and_user_are_checked() {
        let good = service("cgroup = \"/understudy-gated.slice/\"\nuser = \"mt5\"").unwrap();
        assert_eq!(good.cgroup.as_deref(), Some("understudy-gated.slice"));
        for bad in ["", "/", "a//b", "../x", "a/b/c/d/e"] {
            assert!(service(&format!("cgroup = \"{bad}\"")).is_err(), "{bad:?}");
        }
        for bad in ["root", "0", "", "a b"] {
            assert!(service(&format!("user = \"{bad}\"")).is_err(), "{bad:?}");
        }
    }
}
