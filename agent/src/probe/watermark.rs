//! How far this host's copy of the data lags behind, as a command of the
//! operator's says: it prints one JSON object, `{"lag_ms": N}`.
//!
//! Runs what agent.toml names, by argv and never by a shell, bounded in time and
//! output. Whatever is not exactly that answer is unknown: no lag is ever guessed.

use super::{Finding, Slot, WatermarkConfig, count};
use daemon::command::{Finished, Program, Run};
use model::{Millis, Verdict};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// From SIGTERM to SIGKILL: such a command only asks and prints.
const GRACE: Duration = Duration::from_millis(500);
/// Characters kept of what a command that failed said.
const WORDS_MAX: usize = 200;

pub(super) struct Watermark {
    config: WatermarkConfig,
    program: Option<Program>,
}

#[derive(Deserialize)]
struct Answer {
    lag_ms: u64,
}

impl Watermark {
    pub(super) fn new(config: WatermarkConfig, limit: Duration) -> Self {
        let program = config
            .command
            .split_first()
            .map(|(path, args)| Program::new(path, limit).args(args).grace(GRACE));
        Self { config, program }
    }

    pub(super) async fn run(self, slot: Arc<Slot>, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            slot.publish(self.find().await);
        }
    }

    async fn find(&self) -> Finding {
        let unknown = |words: String| Finding::new(Verdict::Unknown, words);
        let Some(program) = &self.program else { return unknown("it has no command".into()) };
        match program.run().await {
            Run::Finished(finished) => match lag(&finished) {
                Ok(lag) => self.judge(lag),
                Err(words) => unknown(words),
            },
            Run::TimedOut(out) => unknown(format!("no answer within {:?}", out.deadline)),
            Run::NotStarted(error) => unknown(error.to_string()),
        }
    }

    fn judge(&self, lag: Millis) -> Finding {
        let over = |level: Option<Millis>| level.is_some_and(|level| lag >= level);
        let verdict = if over(self.config.critical_lag) {
            Verdict::Critical
        } else if over(self.config.warn_lag) {
            Verdict::Warn
        } else {
            Verdict::Ok
        };
        Finding::new(verdict, format!("the data is {lag} behind")).measure("lag_ms", count(lag.0))
    }
}

fn lag(finished: &Finished) -> Result<Millis, String> {
    if !finished.succeeded() {
        let said = finished.stderr.one_line(WORDS_MAX);
        return Err(format!("the command failed ({}): {said}", finished.status));
    }
    if finished.truncated() {
        return Err("the command wrote far more than one object".into());
    }
    serde_json::from_slice::<Answer>(&finished.stdout.bytes)
        .map(|answer| Millis(answer.lag_ms))
        .map_err(|error| format!("the command's answer is not {{\"lag_ms\": N}}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn says(script: &str) -> Finding {
        let command = ["/bin/sh", "-c", script].map(Into::into).into();
        let (warn_lag, critical_lag) = (Some(Millis(1000)), Some(Millis(5000)));
        let config = WatermarkConfig { command, warn_lag, critical_lag };
        Watermark::new(config, Duration::from_secs(5)).find().await
    }

    #[tokio::test]
    async fn the_lag_is_judged_by_its_levels() {
        for (lag, verdict) in [
            (0, Verdict::Ok),
            (999, Verdict::Ok),
            (1000, Verdict::Warn),
            (5000, Verdict::Critical),
            (u64::MAX, Verdict::Critical),
        ] {
            let found = says(&format!("echo '{{\"lag_ms\": {lag}, \"by\": \"wal\"}}'")).await;
            assert_eq!(found.verdict, verdict, "{}", found.summary);
            assert_eq!(found.measures["lag_ms"], count(lag));
        }
    }

    #[tokio::test]
    async fn whatever_is_no_answer_is_unknown_and_measures_nothing() {
        for (script, words) in [
            ("echo 12", "is not {\"lag_ms\": N}"),
            ("echo '{\"lag_ms\": -1}'", "is not {\"lag_ms\": N}"),
            ("echo '{\"lag_ms\": 1}{\"lag_ms\": 2}'", "is not {\"lag_ms\": N}"),
            ("echo '{\"lag\": 1}'", "is not {\"lag_ms\": N}"),
            ("echo '{\"lag_ms\": 1}'; echo no replica >&2; exit 3", "exit code 3): no replica"),
            ("head -c 40000 /dev/zero", "far more than one object"),
        ] {
            let found = says(script).await;
            assert_eq!(found.verdict, Verdict::Unknown, "{script}");
            assert!(found.summary.contains(words), "{:?} does not say {words:?}", found.summary);
            assert!(found.measures.is_empty());
        }
        let command = vec!["/bin/sleep".into(), "60".into()];
        let config = WatermarkConfig { command, warn_lag: None, critical_lag: None };
        let slow = Watermark::new(config, Duration::from_millis(50)).find().await;
        assert!(slow.summary.contains("no answer within"), "{}", slow.summary);
        let none = WatermarkConfig {
            command: vec!["/nonexistent/lag".into()],
            warn_lag: None,
            critical_lag: None,
        };
        let none = Watermark::new(none, Duration::from_secs(1)).find().await;
        assert!(none.summary.contains("does not exist"), "{}", none.summary);
    }
}
