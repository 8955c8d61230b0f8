//! The process that does the work: this same program, with the limits that it
//! takes upon itself, ended with the agent.

use super::due::{Deed, Job};
use daemon::command::{Program, Run};
use std::{path::Path, time::Duration};

/// When a run counts as hung. What it reads has limits of its own.
const LIMIT: Duration = Duration::from_secs(24 * 3600);
/// From SIGTERM to SIGKILL: a run has nothing to put away.
const GRACE: Duration = Duration::from_secs(5);
/// Characters kept of what went wrong.
const WORDS_MAX: usize = 400;

/// This program, whatever file has replaced it since.
pub(super) const OWN: &str = "/proc/self/exe";

/// Does a job; in words why it failed. Dropped, it ends the process.
pub(super) async fn run(program: &Path, config: &Path, job: &Job) -> Result<(), String> {
    let mut arguments: Vec<String> = vec!["backup".into()];
    match &job.deed {
        Deed::Run => arguments.extend(["run".into(), job.source.clone()]),
        Deed::Verify { level, percent } => {
            arguments.extend(["verify".into(), job.source.clone()]);
            arguments.extend(["--level".into(), level.to_string()]);
            arguments.extend(["--percent".into(), percent.to_string()]);
        }
    }
    let agent = std::process::id().to_string();
    let program = Program::new(program, LIMIT)
        .grace(GRACE)
        .args(arguments)
        .args(["--json", "--of-agent", &agent, "--config"])
        .args([config]);
    match program.run().await {
        Run::Finished(done) if done.succeeded() => Ok(()),
        Run::Finished(done) => Err(format!("{}: {}", done.status, done.stderr.one_line(WORDS_MAX))),
        Run::TimedOut(late) => {
            Err(format!("it did not end within {} h", late.deadline.as_secs() / 3600))
        }
        Run::NotStarted(error) => Err(error.to_string()),
    }
}
