//! Tasks for a host.

use super::{WireError, bounded, missing, text, unknown};
use crate::v1;
use model::{Millis, Restore, Task, TaskOrder};

/// An empty text is one that was not given.
fn given(of: String) -> Option<String> {
    Some(text(of)).filter(|text| !text.is_empty())
}

fn or_empty(of: Option<String>) -> String {
    of.unwrap_or_default()
}

/// 0 is "not given"; more than `most` is no such number.
fn number(field: &'static str, of: u32, most: u8) -> Result<Option<u8>, WireError> {
    match u8::try_from(of) {
        Ok(0) => Ok(None),
        Ok(number) if number <= most => Ok(Some(number)),
        Ok(_) | Err(_) => {
            Err(unknown("BackupVerify", field, i32::try_from(of).unwrap_or(i32::MAX)))
        }
    }
}

impl From<Task> for v1::Task {
    fn from(task: Task) -> Self {
        use v1::task::Work as Wire;
        let work = match task {
            Task::BackupRun { source } => {
                Wire::BackupRun(v1::BackupRun { source: or_empty(source) })
            }
            Task::BackupList { source } => {
                Wire::BackupList(v1::BackupList { source: or_empty(source) })
            }
            Task::BackupVerify { source, level, percent, snapshot, of } => {
                Wire::BackupVerify(v1::BackupVerify {
                    source: or_empty(source),
                    level: level.unwrap_or_default().into(),
                    percent: percent.unwrap_or_default().into(),
                    snapshot: or_empty(snapshot),
                    of: or_empty(of),
                })
            }
            Task::BackupRestore(restore) => Wire::BackupRestore(v1::BackupRestore {
                source: restore.source,
                at: or_empty(restore.at),
                snapshot: or_empty(restore.snapshot),
                to: or_empty(restore.to),
                of: or_empty(restore.of),
                unverified: restore.unverified,
                dry_run: restore.dry_run,
            }),
            Task::BackupPrune { source, dry_run } => {
                Wire::BackupPrune(v1::BackupPrune { source: or_empty(source), dry_run })
            }
            Task::EvidenceCollect { with } => Wire::EvidenceCollect(v1::EvidenceCollect { with }),
            Task::EvidenceBaseline => Wire::EvidenceBaseline(v1::EvidenceBaseline {}),
        };
        Self { work: Some(work) }
    }
}

impl TryFrom<v1::Task> for Task {
    type Error = WireError;
    fn try_from(task: v1::Task) -> Result<Self, WireError> {
        use v1::task::Work as Wire;
        Ok(match task.work.ok_or(missing("Task", "work"))? {
            Wire::BackupRun(run) => Self::BackupRun { source: given(run.source) },
            Wire::BackupList(list) => Self::BackupList { source: given(list.source) },
            Wire::BackupVerify(verify) => Self::BackupVerify {
                level: number("level", verify.level, 3)?,
                percent: number("percent", verify.percent, 100)?,
                source: given(verify.source),
                snapshot: given(verify.snapshot),
                of: given(verify.of),
            },
            Wire::BackupRestore(restore) => Self::BackupRestore(Restore {
                source: given(restore.source).ok_or(missing("BackupRestore", "source"))?,
                at: given(restore.at),
                snapshot: given(restore.snapshot),
                to: given(restore.to),
                of: given(restore.of),
                unverified: restore.unverified,
                dry_run: restore.dry_run,
            }),
            Wire::BackupPrune(prune) => {
                Self::BackupPrune { source: given(prune.source), dry_run: prune.dry_run }
            }
            Wire::EvidenceCollect(collect) => {
                let with = bounded("EvidenceCollect", "with", collect.with)?;
                Self::EvidenceCollect { with: with.into_iter().filter_map(given).collect() }
            }
            Wire::EvidenceBaseline(_) => Self::EvidenceBaseline,
        })
    }
}

impl From<TaskOrder> for v1::HostTask {
    fn from(order: TaskOrder) -> Self {
        Self {
            request: order.request,
            by: order.by,
            reason: order.reason,
            limit_ms: order.limit.0,
            task: Some(order.task.into()),
            json: order.json,
        }
    }
}

impl TryFrom<v1::HostTask> for TaskOrder {
    type Error = WireError;
    fn try_from(order: v1::HostTask) -> Result<Self, WireError> {
        Ok(Self {
            request: given(order.request).ok_or(missing("HostTask", "request"))?,
            by: text(order.by),
            reason: text(order.reason),
            limit: Millis(order.limit_ms),
            json: order.json,
            task: order.task.ok_or(missing("HostTask", "task"))?.try_into()?,
        })
    }
}
