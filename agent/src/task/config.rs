//! `[tasks]` of agent.toml, checked: what coordinators may have done here.

use model::TaskKind;
use serde::Deserialize;
use std::collections::BTreeSet;

/// `[tasks]`: nothing unless the file says so (A7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct TasksConfig {
    /// The kinds that an operator may order through the coordinators.
    pub allow: BTreeSet<TaskKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    allow: Vec<String>,
}

impl TryFrom<Raw> for TasksConfig {
    type Error = String;
    fn try_from(raw: Raw) -> Result<Self, String> {
        let kind = |word: &String| {
            let known = TaskKind::ALL.into_iter().find(|kind| kind.word() == word);
            known.ok_or_else(|| {
                let all: Vec<&str> = TaskKind::ALL.iter().map(|kind| kind.word()).collect();
                format!("[tasks] allow: `{word}` is no kind of task; write of {}", all.join(", "))
            })
        };
        Ok(Self { allow: raw.allow.iter().map(kind).collect::<Result<_, _>>()? })
    }
}

impl TasksConfig {
    /// Why a task of this kind is refused; `None` when it is allowed.
    #[must_use]
    pub fn refusal(&self, kind: TaskKind) -> Option<String> {
        if self.allow.contains(&kind) {
            return None;
        }
        let mut wanted: Vec<TaskKind> = self.allow.iter().copied().collect();
        wanted.push(kind);
        wanted.sort_unstable();
        let list: Vec<String> = wanted.iter().map(|kind| format!("\"{}\"", kind.word())).collect();
        Some(format!(
            "agent.toml on this host does not let coordinators order a {} (write: [tasks] \
             allow = [{}]); on the host itself it works all the same",
            kind.word(),
            list.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allowed_unless_it_is_named_and_a_refusal_says_what_to_write() {
        let read = |text: &str| toml::from_str::<TasksConfig>(text).map_err(|e| e.to_string());
        let none = read("").unwrap();
        assert_eq!(none, TasksConfig::default());
        assert!(none.refusal(TaskKind::Backup).unwrap().contains("allow = [\"backup\"]"));
        let some = read("allow = [\"backup\"]").unwrap();
        assert_eq!(some.refusal(TaskKind::Backup), None);
        let words = some.refusal(TaskKind::Restore).unwrap();
        assert!(words.contains("allow = [\"backup\", \"restore\"]"), "{words}");
        assert!(read("allow = [\"shell\"]").unwrap_err().contains("no kind of task"));
        assert!(read("deny = []").is_err());
    }
}
