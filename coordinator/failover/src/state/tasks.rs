//! Tasks that operators ordered for hosts: what, by whom, and how each ended.
//! Facts for people; nothing is decided by them.

use super::{Applied, State, apply::ignored};
use crate::record::Record;
use alloc::{format, string::String};
use model::{HostId, Wall};
use serde::{Deserialize, Serialize};

/// Tasks kept: a day of hourly ones on four hosts.
const TASKS_MAX: usize = 100;

/// One task, ordered or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEntry {
    /// The operator's request: the same one is done once.
    pub request: String,
    /// The host.
    pub host: HostId,
    /// As a person would type it.
    pub task: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it was ordered.
    pub at: Wall,
    /// How it ended, once that is recorded.
    pub end: Option<TaskOutcome>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// Its exit code.
    pub exit: u8,
    /// Empty, or why it ended so.
    pub detail: String,
    /// What it wrote.
    pub bytes: u64,
    /// When.
    pub at: Wall,
}

impl State {
    /// The task of this request, if it was ordered of late.
    #[must_use]
    pub fn task(&self, request: &str) -> Option<&TaskEntry> {
        self.tasks.iter().rev().find(|task| task.request == request)
    }

    /// The newest task for a host.
    #[must_use]
    pub fn newest_task(&self, host: &HostId) -> Option<&TaskEntry> {
        self.tasks.iter().rev().find(|task| task.host == *host)
    }

    pub(super) fn apply_task_ordered(&mut self, record: &Record) -> Applied {
        let Record::TaskOrdered { request, host, task, by, reason, at } = record else {
            return ignored("not an order for a task");
        };
        if self.task(request).is_some() {
            return ignored(format!("request {request} was ordered already"));
        }
        if !self.named_hosts().any(|named| named == host) {
            return ignored(format!("no group names a host {host}; `coordctl status` lists them"));
        }
        self.tasks.push_back(TaskEntry {
            request: request.clone(),
            host: host.clone(),
            task: task.clone(),
            by: by.clone(),
            reason: reason.clone(),
            at: *at,
            end: None,
        });
        while self.tasks.len() > TASKS_MAX {
            self.tasks.pop_front();
        }
        Applied::Done
    }

    pub(super) fn apply_task_ended(&mut self, record: &Record) -> Applied {
        let Record::TaskEnded { request, exit, detail, bytes, at } = record else {
            return ignored("not the end of a task");
        };
        match self.tasks.iter_mut().rev().find(|task| task.request == *request) {
            Some(task) if task.end.is_none() => {
                let (exit, detail) = (*exit, detail.clone());
                task.end = Some(TaskOutcome { exit, detail, bytes: *bytes, at: *at });
                Applied::Done
            }
            Some(_) => ignored(format!("the end of {request} is recorded already")),
            None => ignored(format!("no task of request {request} is known any more")),
        }
    }
}
