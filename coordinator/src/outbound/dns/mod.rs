//! Pointing the world at the new site through the operator's own executable.
//!
//! The hook is called once or, when it fails, a few times; it must be safe to
//! repeat, also by the next leader. Read-back then asks named resolvers what
//! the world will see. When to switch, and what a failure means for the
//! plan, is the core's business.

mod config;
mod read_back;

pub use config::{DnsHookConfig, ReadBackConfig, ResolverAddress};
pub use read_back::{ReadBack, ResolverReport};

use daemon::{
    backoff::Backoff,
    command::{Finished, NotStarted, Program, Run, TimedOut},
};
use model::{AttemptId, Epoch, GroupId, IncidentId, Millis, PlanId, SiteId};
use serde::Serialize;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// The form of the JSON object on the hook's stdin; grows when it changes.
const VERSION: u32 = 1;

/// Between two attempts: first, longest (a provider's API that limits its
/// callers wants seconds), and the spread in percent.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_CAP: Duration = Duration::from_secs(5);
const PAUSE_JITTER: u8 = 20;

/// Characters of the hook's output in one line for a person.
const WORDS_MAX: usize = 400;

/// One switch to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSwitch {
    /// The plan's try of its step, from 1: calls are numbered on from the
    /// earlier tries' most, so that no two calls of a plan have one number,
    /// also when leaders change.
    pub round: AttemptId,
    /// The group whose names move.
    pub group: GroupId,
    /// The site that they leave; `None` at the group's first activation.
    pub from: Option<SiteId>,
    /// The site that they come to.
    pub to: SiteId,
    /// The new site's addresses, from the group's file.
    pub addresses: Vec<String>,
    /// The old site's.
    pub from_addresses: Vec<String>,
    /// The activation that this belongs to.
    pub epoch: Epoch,
    /// The incident that this belongs to.
    pub incident: IncidentId,
    /// The plan that asks for it.
    pub plan: PlanId,
    /// The hook is only to say what it would do.
    pub dry_run: bool,
}

/// The hook as configured. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DnsHook {
    command: Vec<String>,
    timeout: Duration,
    attempts: u32,
    read_back: Option<read_back::Question>,
    pause_first: Duration,
}

/// What came of a switch.
#[derive(Debug)]
pub enum DnsOutcome {
    /// The hook said so and, where read-back is configured, every resolver agrees.
    Switched(DnsReport),
    /// The hook said so; some resolver did not answer so in time.
    NotSeen(DnsReport),
    /// No attempt succeeded.
    Failed(DnsReport),
}

/// How a switch went.
#[derive(Debug)]
pub struct DnsReport {
    /// Every attempt, in order; at least one.
    pub attempts: Vec<DnsAttempt>,
    /// What the resolvers answered, where they were asked.
    pub read_back: Option<ReadBack>,
    /// From the first attempt to the last answer.
    pub took: Millis,
}

/// One call of the hook.
#[derive(Debug)]
pub struct DnsAttempt {
    /// From 1.
    pub number: u32,
    /// How it went.
    pub run: Run,
}

impl DnsOutcome {
    /// How it went, whatever came of it.
    #[must_use]
    pub const fn report(&self) -> &DnsReport {
        match self {
            Self::Switched(report) | Self::NotSeen(report) | Self::Failed(report) => report,
        }
    }

    /// Whether the hook did its work (read-back aside).
    #[must_use]
    pub const fn hook_succeeded(&self) -> bool {
        match self {
            Self::Switched(_) | Self::NotSeen(_) => true,
            Self::Failed(_) => false,
        }
    }
}

impl fmt::Display for DnsOutcome {
    /// One line for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report();
        let tries = match report.attempts.len() {
            1 => "1 attempt".to_owned(),
            many => format!("{many} attempts"),
        };
        let last = report.attempts.last().map(ToString::to_string).unwrap_or_default();
        match self {
            Self::Switched(_) => write!(f, "DNS hook done after {tries}: {last}")?,
            Self::NotSeen(_) => write!(f, "DNS hook done after {tries}, not seen everywhere")?,
            Self::Failed(_) => write!(f, "DNS hook failed after {tries}: {last}")?,
        }
        match &report.read_back {
            Some(read_back) => write!(f, "; {read_back}"),
            None => Ok(()),
        }
    }
}

impl DnsAttempt {
    /// Exit code 0.
    #[must_use]
    pub const fn succeeded(&self) -> bool {
        match &self.run {
            Run::Finished(finished) => finished.succeeded(),
            Run::TimedOut(_) | Run::NotStarted(_) => false,
        }
    }
}

impl fmt::Display for DnsAttempt {
    /// How it ended and what it said: stderr, or else stdout.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stdout, stderr) = match &self.run {
            Run::Finished(Finished { status, stdout, stderr, .. }) => {
                write!(f, "{status}")?;
                (stdout, stderr)
            }
            Run::TimedOut(TimedOut { deadline, stdout, stderr, killed }) => {
                let how = if *killed { "killed" } else { "ended" };
                write!(f, "{how} at its deadline of {}", millis(*deadline))?;
                (stdout, stderr)
            }
            Run::NotStarted(why) => return write!(f, "not started: {why}"),
        };
        for output in [stderr, stdout] {
            let words = output.one_line(WORDS_MAX);
            if !words.is_empty() {
                return write!(f, ": {words}");
            }
        }
        Ok(())
    }
}

/// What the hook reads from stdin. The members' order is part of the contract.
#[derive(Serialize)]
struct Input<'a> {
    version: u32,
    hook: &'static str,
    group: &'a GroupId,
    from: Option<&'a SiteId>,
    to: &'a SiteId,
    addresses: &'a [String],
    from_addresses: &'a [String],
    epoch: Epoch,
    incident: IncidentId,
    plan: PlanId,
    attempt: u32,
    dry_run: bool,
}

impl DnsHook {
    /// The hook from its configuration, which [`DnsHookConfig::check`] has found sound.
    #[must_use]
    pub fn new(config: &DnsHookConfig) -> Self {
        Self {
            command: config.command.get_ref().clone(),
            timeout: config.timeout.get_ref().duration(),
            attempts: *config.attempts.get_ref(),
            read_back: config.read_back.as_ref().map(read_back::Question::new),
            pause_first: PAUSE_FIRST,
        }
    }

    /// Calls the hook until it succeeds, at most as often as configured, then
    /// reads back. Takes at most attempts × (timeout + 10 s) plus the read-back's
    /// timeout. Dropping the future ends a running hook.
    ///
    /// A hook that cannot be started is not called again: nothing but a person changes that.
    pub async fn switch(&self, request: &DnsSwitch) -> DnsOutcome {
        let begun = Instant::now();
        let attempts = self.attempts(request).await;
        let done = attempts.last().is_some_and(DnsAttempt::succeeded);
        let read_back = match &self.read_back {
            Some(question) if done && !request.dry_run => {
                Some(question.ask(&request.addresses, &request.from_addresses).await)
            }
            Some(_) | None => None,
        };
        let seen = read_back.as_ref().is_none_or(ReadBack::complete);
        let report = DnsReport { attempts, read_back, took: millis(begun.elapsed()) };
        match (done, seen) {
            (true, true) => DnsOutcome::Switched(report),
            (true, false) => DnsOutcome::NotSeen(report),
            (false, _) => DnsOutcome::Failed(report),
        }
    }

    async fn attempts(&self, request: &DnsSwitch) -> Vec<DnsAttempt> {
        let mut backoff = Backoff::from_os(self.pause_first, PAUSE_CAP, PAUSE_JITTER);
        let mut attempts = Vec::new();
        let most = self.attempts.max(1);
        let earlier = u32::try_from(request.round.0.saturating_sub(1)).unwrap_or(u32::MAX);
        let first = earlier.saturating_mul(most).saturating_add(1);
        for number in first..first.saturating_add(most) {
            if number > first {
                tokio::time::sleep(backoff.wait()).await;
            }
            let run = match self.program(request, number) {
                Ok(program) => program.run().await,
                Err(why) => Run::NotStarted(why),
            };
            let attempt = DnsAttempt { number, run };
            let done = attempt.succeeded() || matches!(attempt.run, Run::NotStarted(_));
            if attempt.succeeded() {
                tracing::info!(group = %request.group, number, result = %attempt, "DNS hook called");
            } else {
                tracing::warn!(group = %request.group, number, result = %attempt, "DNS hook failed");
            }
            attempts.push(attempt);
            if done {
                break;
            }
        }
        attempts
    }

    fn program(&self, request: &DnsSwitch, attempt: u32) -> Result<Program, NotStarted> {
        let input = Input {
            version: VERSION,
            hook: "dns",
            group: &request.group,
            from: request.from.as_ref(),
            to: &request.to,
            addresses: &request.addresses,
            from_addresses: &request.from_addresses,
            epoch: request.epoch,
            incident: request.incident,
            plan: request.plan,
            attempt,
            dry_run: request.dry_run,
        };
        let path = self.command.first().map(String::as_str).unwrap_or_default();
        let mut stdin = serde_json::to_vec(&input)
            .map_err(|error| NotStarted::Other { path: path.into(), source: error.into() })?;
        // A shell's `read` wants the line's end.
        stdin.push(b'\n');
        let from = request.from.as_ref().map(SiteId::as_str).unwrap_or_default();
        Ok(Program::new(path, self.timeout)
            .args(self.command.get(1..).unwrap_or_default())
            .env("UNDERSTUDY_HOOK", "dns")
            .env("UNDERSTUDY_GROUP", request.group.as_str())
            .env("UNDERSTUDY_FROM", from)
            .env("UNDERSTUDY_TO", request.to.as_str())
            .env("UNDERSTUDY_ADDRESSES", request.addresses.join(","))
            .env("UNDERSTUDY_FROM_ADDRESSES", request.from_addresses.join(","))
            .env("UNDERSTUDY_EPOCH", request.epoch.to_string())
            .env("UNDERSTUDY_INCIDENT", request.incident.to_string())
            .env("UNDERSTUDY_PLAN", request.plan.to_string())
            .env("UNDERSTUDY_ATTEMPT", attempt.to_string())
            .env("UNDERSTUDY_DRY_RUN", if request.dry_run { "1" } else { "0" })
            .stdin(stdin))
    }
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
