//! A task as arguments of this very program: each value behind `=` or after `--`,
//! so that none of them can be taken for an option.

use model::{Task, TaskOrder};
use std::{ffi::OsString, path::Path};

/// The arguments after the program's name.
pub(super) fn of(order: &TaskOrder, config: &Path) -> Vec<OsString> {
    let mut words = Words(Vec::new());
    match &order.task {
        Task::BackupRun { source } => words.backup(config, "run", source.as_ref(), order.json),
        Task::BackupList { source } => words.backup(config, "list", source.as_ref(), order.json),
        Task::BackupVerify { source, level, percent, snapshot, of } => {
            words.backup(config, "verify", None, order.json);
            words.value("--level", level.map(|level| level.to_string()).as_ref());
            words.value("--percent", percent.map(|percent| percent.to_string()).as_ref());
            words.value("--snapshot", snapshot.as_ref());
            words.value("--host", of.as_ref());
            words.last(source.as_ref());
        }
        Task::BackupRestore(restore) => {
            words.backup(config, "restore", None, order.json);
            words.value("--at", restore.at.as_ref());
            words.value("--snapshot", restore.snapshot.as_ref());
            words.value("--to", restore.to.as_ref());
            words.value("--host", restore.of.as_ref());
            words.flag("--unverified", restore.unverified);
            words.flag("--dry-run", restore.dry_run);
            words.last(Some(&restore.source));
        }
        Task::BackupPrune { source, dry_run } => {
            words.backup(config, "prune", None, order.json);
            words.flag("--dry-run", *dry_run);
            words.last(source.as_ref());
        }
        Task::EvidenceCollect { with } => {
            words.0.extend(["evidence".into(), "collect".into(), "--config".into(), config.into()]);
            with.iter().for_each(|name| words.value("--with", Some(name)));
        }
        Task::EvidenceBaseline => {
            words.0.extend(["evidence".into(), "baseline".into(), "--print".into()]);
            words.0.extend(["--config".into(), config.into()]);
        }
    }
    words.0
}

struct Words(Vec<OsString>);

impl Words {
    fn backup(&mut self, config: &Path, verb: &str, source: Option<&String>, json: bool) {
        self.0.extend(["backup".into(), "--config".into(), config.into(), verb.into()]);
        self.flag("--json", json);
        self.last(source);
    }

    fn value(&mut self, name: &str, value: Option<&String>) {
        self.0.extend(value.map(|value| format!("{name}={value}").into()));
    }

    fn flag(&mut self, name: &str, given: bool) {
        self.0.extend(given.then(|| name.into()));
    }

    fn last(&mut self, value: Option<&String>) {
        if let Some(value) = value {
            self.0.extend(["--".into(), value.into()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Millis, Restore};

    #[test]
    fn no_value_can_become_an_option() {
        let evil = || Some("--config=/tmp/evil.toml".to_owned());
        let restore = Restore {
            source: "--json".into(),
            at: evil(),
            snapshot: None,
            to: Some("-x".into()),
            of: evil(),
            unverified: false,
            dry_run: true,
        };
        let all = [
            Task::BackupRun { source: evil() },
            Task::BackupList { source: evil() },
            Task::BackupVerify {
                source: evil(),
                level: Some(3),
                percent: None,
                snapshot: evil(),
                of: evil(),
            },
            Task::BackupRestore(restore),
            Task::BackupPrune { source: evil(), dry_run: true },
        ];
        for task in all {
            let order = TaskOrder {
                request: "r".into(),
                by: "ann".into(),
                reason: String::new(),
                limit: Millis(1),
                json: false,
                task,
            };
            let words = of(&order, Path::new("/etc/agent.toml"));
            let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
            let dashes = words.iter().position(|word| *word == "--").unwrap();
            assert_eq!(dashes, words.len() - 2, "{words:?}");
            let options = &words[4..dashes];
            let known = ["--level=", "--snapshot=", "--host=", "--at=", "--to=", "--dry-run"];
            assert!(
                options.iter().all(|word| known.iter().any(|known| word.starts_with(known))),
                "{words:?}"
            );
        }
    }
}
