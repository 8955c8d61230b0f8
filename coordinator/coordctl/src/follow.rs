//! Follows a plan until it ends, from leader to leader.
//!
//! The plan lives in the coordinators: losing sight of it, or Ctrl-C, changes
//! nothing there. Every line is said once, whoever says it.

use crate::{
    client::{Client, Repeat},
    end::{End, Failure},
    out::Out,
    progress::{Progress, Standing, standing},
    render,
};
use daemon::{backoff::Backoff, clock, exit::Exit};
use proto::v1::{Plan, WatchPlanRequest};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::Streaming;

/// A stream that says nothing for this long is opened again. A slow step is
/// silent for longer than that, and opening again costs one call; what it buys
/// is that a leader that was cut off is left within this time.
const SILENCE: Duration = Duration::from_secs(15);
/// How often the line that is overwritten is drawn.
const TICK: Duration = Duration::from_secs(1);

/// Why a stream was left.
enum Left {
    /// The plan has ended.
    Ended(Box<Plan>),
    /// It broke.
    Broke(String),
    /// It was silent for so long that another look is due.
    Silent,
    /// Ctrl-C.
    Interrupted,
}

/// A plan that is being followed.
struct Follower<'a> {
    client: &'a mut Client,
    out: Out,
    plan: u64,
    progress: Progress,
    last: Option<Plan>,
    /// When a snapshot last came.
    heard: Instant,
    /// Ctrl-C. One listener for the whole time: it keeps a signal that comes
    /// while nobody waits for it.
    interrupt: Signal,
}

/// Follows `plan` and says how it ends.
pub(crate) async fn follow(client: &mut Client, out: Out, plan: u64) -> Result<End, Failure> {
    let interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::failed(format!("cannot listen for Ctrl-C: {error}")))?;
    let follower = Follower {
        client,
        out,
        plan,
        progress: Progress::default(),
        last: None,
        heard: Instant::now(),
        interrupt,
    };
    follower.run().await
}

impl Follower<'_> {
    async fn run(mut self) -> Result<End, Failure> {
        let mut backoff = Backoff::from_os(Duration::from_millis(100), Duration::from_secs(1), 30);
        loop {
            let before = self.heard;
            let words = match self.watch_once().await? {
                Left::Ended(plan) => return self.ended(&plan),
                Left::Interrupted => return self.detached(),
                Left::Broke(words) => {
                    self.out.passing("");
                    let again = format!("lost sight of plan {}: {words}; looking again", self.plan);
                    self.out.talk(&again);
                    words
                }
                Left::Silent => "no word from the leader".into(),
            };
            if self.heard > before {
                backoff.reset();
            } else if self.heard.elapsed() > self.client.timeout() + SILENCE {
                return Err(self.lost(&words));
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.wait()) => {}
                _ = self.interrupt.recv() => return self.detached(),
            }
        }
    }

    /// Opens the stream and reads it until it is left.
    async fn watch_once(&mut self) -> Result<Left, Failure> {
        let request = WatchPlanRequest { plan: self.plan };
        let opening = self
            .client
            .call(request, Repeat::Safe, async |api, request| api.watch_plan(request).await);
        let opened = tokio::select! {
            opened = opening => opened,
            _ = self.interrupt.recv() => return Ok(Left::Interrupted),
        };
        match opened {
            Ok(stream) => Ok(self.read(stream).await),
            Err(failure) if failure.end == End::As(Exit::Unreachable) => {
                Err(self.lost(&failure.message))
            }
            Err(other) => Err(other),
        }
    }

    async fn read(&mut self, mut stream: Streaming<Plan>) -> Left {
        let mut silent_since = Instant::now();
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                () = tokio::time::sleep(TICK) => {
                    if silent_since.elapsed() > SILENCE {
                        return Left::Silent;
                    }
                    self.draw_passing();
                    continue;
                }
                _ = self.interrupt.recv() => return Left::Interrupted,
            };
            match message {
                Ok(Some(plan)) => {
                    silent_since = Instant::now();
                    if self.see(plan) {
                        return match self.last.take() {
                            Some(plan) => Left::Ended(Box::new(plan)),
                            None => Left::Broke("the plan is empty".into()),
                        };
                    }
                }
                Ok(None) => return Left::Broke("the stream ended".into()),
                Err(status) => {
                    return Left::Broke(self.client.words_of(&status));
                }
            }
        }
    }

    /// Says what is new; whether the plan has ended.
    fn see(&mut self, plan: Plan) -> bool {
        self.heard = Instant::now();
        for line in self.progress.lines(&plan) {
            self.out.progress(&line);
        }
        let ended = standing(&plan) != Standing::Running;
        self.last = Some(plan);
        if !ended {
            self.draw_passing();
        }
        ended
    }

    fn draw_passing(&self) {
        if let Some(plan) = &self.last
            && let Some(line) = Progress::passing(plan, clock::wall_ms())
        {
            self.out.passing(&line);
        }
    }

    fn ended(&self, plan: &Plan) -> Result<End, Failure> {
        let (end, next) = match standing(plan) {
            Standing::Completed => (End::DONE, String::new()),
            Standing::Held => (
                End::As(Exit::Held),
                format!(
                    "hint: see why with `coordctl plan show {}` and `coordctl doctor {}`",
                    plan.id, plan.group
                ),
            ),
            Standing::Running | Standing::EndedOtherwise => {
                (End::As(Exit::Failed), format!("hint: `coordctl plan show {}`", plan.id))
            }
        };
        for line in render::plan::ending(plan) {
            self.out.progress(&line);
        }
        if !next.is_empty() {
            self.out.talk(&next);
        }
        if self.out.json {
            self.out.document(plan)?;
        }
        Ok(end)
    }

    fn detached(&self) -> Result<End, Failure> {
        self.out.passing("");
        self.out.talk(&format!(
            "detached: plan {0} goes on in the coordinators\n\
             hint: look again with `coordctl plan show {0}` or `coordctl plan show {0} --follow`",
            self.plan
        ));
        if self.out.json
            && let Some(plan) = &self.last
        {
            self.out.document(plan)?;
        }
        Ok(End::Detached)
    }

    fn lost(&self, words: &str) -> Failure {
        Failure::unreachable(format!("lost sight of plan {}: {words}", self.plan)).hint(format!(
            "the plan goes on without this program; look again with `coordctl plan show {} --follow`",
            self.plan
        ))
    }
}
