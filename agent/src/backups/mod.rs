//! Backups and proofs by themselves: by schedule, and when files change.
//!
//! One thread of its own decides what is due and starts a process for it, so that
//! the agent's loop never waits for a disk or a repository (A4), and the agent
//! stays as small as it is. The thread ends with the agent, and the processes
//! with the thread. What was last taken is durable in
//! `backup/schedule.json`; what came of it is written by the processes
//! ([`backup::status`]).

mod child;
mod due;
mod standing;
mod watch;

pub use standing::Told;

use crate::config::Config;
use backup::{
    SourceConfig,
    config::{Kind, PathsSource},
    status::Status,
};
use daemon::{
    clock::boottime_ms,
    durable::{self, DurableError},
    shutdown::Shutdown,
};
use due::{Deed, Job, Jobs, Now};
use jiff::Timestamp;
use model::{Millis, Mono};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tokio::{sync::watch as channel, task::JoinSet, time::sleep};
use watch::{Watch, WatchError};

/// The longest sleep: clocks are set, and programs of others write our files.
const LOOK_EVERY: Millis = Millis::from_secs(2);
/// After files could not be watched: they count as changed, and it is tried again.
const WATCH_AGAIN: Duration = Duration::from_secs(60);
/// How long the agent's end waits for this thread. Its processes end anyway.
const END_LIMIT: Duration = Duration::from_secs(1);

/// The thread. Dropped, it ends, and what it started with it.
#[derive(Debug)]
pub struct Backups {
    told: channel::Receiver<Arc<[Told]>>,
    end: Shutdown,
    ended: Option<mpsc::Receiver<()>>,
}

impl Drop for Backups {
    fn drop(&mut self) {
        self.end.trigger();
        if let Some(ended) = &self.ended {
            // An error is its end.
            let _ = ended.recv_timeout(END_LIMIT);
        }
    }
}

impl Backups {
    /// Starts it, where agent.toml has something to do; `file` is agent.toml.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(config: &Config, file: &Path) -> io::Result<Self> {
        Self::with(&config.backup, file, Path::new(child::OWN))
    }

    fn with(config: &backup::Config, file: &Path, program: &Path) -> io::Result<Self> {
        let end = Shutdown::new();
        let (tell, told) = channel::channel(Arc::default());
        let worker = Worker {
            backup: config.clone(),
            tell,
            jobs: jobs(config),
            watched: watched(config),
            taken: config.state_dir.join("backup").join("schedule.json"),
            config: file.into(),
            program: program.into(),
        };
        worker.tell();
        if config.sources.is_empty() {
            return Ok(Self { told, end, ended: None });
        }
        let (_tell, ended) = mpsc::channel();
        let asked = end.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Not through the agent's own threads: what is started here ends when the
        // thread that started it does (prctl(2), PR_SET_PDEATHSIG).
        thread::Builder::new().name("backups".into()).stack_size(512 << 10).spawn(move || {
            runtime.block_on(worker.work(&asked));
            drop(runtime);
            drop(_tell);
        })?;
        Ok(Self { told, end, ended: Some(ended) })
    }

    /// What there is to say of each source.
    #[must_use]
    pub fn told(&self) -> channel::Receiver<Arc<[Told]>> {
        self.told.clone()
    }
}

/// The repositories that a source goes to.
fn repositories(config: &backup::Config, source: &SourceConfig) -> BTreeSet<String> {
    config.repositories_of(source).into_iter().map(|known| known.name.clone()).collect()
}

fn jobs(config: &backup::Config) -> Jobs {
    let mut jobs = Vec::new();
    for source in &config.sources {
        let name = &source.name;
        let mut add = |key: String, deed, schedule| {
            let repositories = repositories(config, source);
            jobs.push(Job::new(key, name, deed, repositories, schedule, &config.host));
        };
        if source.when.schedule.is_some() || source.when.on_change {
            add(format!("run:{name}"), Deed::Run, source.when.schedule.clone());
        }
        for (at, turn) in source.when.verify.iter().enumerate() {
            let deed = Deed::Verify { level: turn.level.into(), percent: turn.percent };
            add(format!("verify:{name}:{at}"), deed, Some(turn.schedule.clone()));
        }
    }
    Jobs::new(jobs)
}

/// The sources whose files are watched.
fn watched(config: &backup::Config) -> BTreeMap<String, PathsSource> {
    let watched = config.sources.iter().filter(|source| source.when.on_change);
    let paths = watched.filter_map(|source| match &source.kind {
        Kind::Paths(paths) => Some((source.name.clone(), paths.clone())),
        Kind::Volume(_) | Kind::Container(_) | Kind::Command(_) => None,
    });
    paths.collect()
}

fn now() -> Now {
    Now { wall: Timestamp::now(), mono: Mono(boottime_ms()) }
}

/// How a job ended.
struct Ended {
    job: Job,
    failed: Option<String>,
    took: Millis,
}

enum Event {
    End,
    Ended(Box<Ended>),
    Changed(BTreeSet<String>),
    Unwatched(WatchError),
    Watch,
    Timer,
}

/// Watching, or waiting to try again.
enum Watching {
    Not,
    On(Watch),
    Again(Pin<Box<tokio::time::Sleep>>),
}

struct Worker {
    backup: backup::Config,
    tell: channel::Sender<Arc<[Told]>>,
    jobs: Jobs,
    watched: BTreeMap<String, PathsSource>,
    taken: PathBuf,
    config: PathBuf,
    program: PathBuf,
}

impl Worker {
    async fn work(mut self, end: &Shutdown) {
        self.resume();
        let mut tasks = JoinSet::new();
        let mut watching = self.watch();
        loop {
            self.begin(&mut tasks);
            self.tell();
            let left = self.jobs.wait(now()).unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
            let event = tokio::select! {
                biased;
                () = end.requested() => Event::End,
                Some(Ok(ended)) = tasks.join_next() => Event::Ended(Box::new(ended)),
                event = next(&mut watching) => event,
                () = sleep(left.to_duration()) => Event::Timer,
            };
            match event {
                Event::End => return,
                Event::Ended(ended) => self.ended(&ended),
                Event::Changed(sources) => self.changed(&sources),
                Event::Unwatched(error) => {
                    tracing::warn!(%error, "files cannot be watched; copied every minute instead");
                    watching = Watching::Again(Box::pin(sleep(WATCH_AGAIN)));
                }
                Event::Watch => watching = self.watch(),
                Event::Timer => {}
            }
        }
    }

    /// Says how the sources stand, by the files that whoever made a copy wrote.
    fn tell(&self) {
        let now = now().wall;
        let one = |source: &SourceConfig| {
            let of = |job: &&Job| job.source == source.name && job.deed == Deed::Run;
            let next = self.jobs.iter().find(of).and_then(|job| job.turn(now));
            let status = Status::load(&self.backup.state_dir, &source.name);
            Told::of(&self.backup, source, &status, next)
        };
        let told: Arc<[Told]> = self.backup.sources.iter().filter_map(one).collect();
        self.tell.send_if_modified(|before| {
            let changed = *before != told;
            *before = told;
            changed
        });
    }

    /// Takes up what is durable.
    fn resume(&mut self) {
        let known = durable::read_optional(&self.taken).ok().flatten();
        let known: BTreeMap<String, Timestamp> =
            known.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let now = now().wall;
        for job in self.jobs.iter_mut() {
            job.resume(known.get(&job.key).copied(), now);
        }
        // So that a proof's first turn is counted from here, also after a restart.
        self.save();
    }

    /// Watches, and counts everything as changed: what came before is not known.
    fn watch(&mut self) -> Watching {
        if self.watched.is_empty() {
            return Watching::Not;
        }
        let watching = match Watch::start(self.watched.clone()) {
            Ok(watch) => Watching::On(watch),
            Err(error) => {
                tracing::warn!(%error, "files cannot be watched; copied every minute instead");
                Watching::Again(Box::pin(sleep(WATCH_AGAIN)))
            }
        };
        self.changed(&self.watched.keys().cloned().collect());
        watching
    }

    fn changed(&mut self, sources: &BTreeSet<String>) {
        let now = now().mono;
        for source in sources {
            self.jobs.changed(source, now);
        }
    }

    fn begin(&mut self, tasks: &mut JoinSet<Ended>) {
        while let Some(job) = self.jobs.begin(now()) {
            // Before the work: after a crash in it the turn is not taken again and
            // again, and the next one comes.
            self.save();
            let (program, config) = (self.program.clone(), self.config.clone());
            tasks.spawn(async move {
                let begun = boottime_ms();
                let failed = child::run(&program, &config, &job).await.err();
                Ended { job, failed, took: Millis(boottime_ms().saturating_sub(begun)) }
            });
        }
    }

    fn ended(&mut self, Ended { job, failed, took }: &Ended) {
        match failed {
            None => tracing::debug!(job = job.key, took_ms = took.0, "done"),
            Some(why) => tracing::warn!(job = job.key, took_ms = took.0, why, "a backup failed"),
        }
        self.jobs.ended(&job.key, failed.is_none(), *took, now().mono);
    }

    fn save(&self) {
        let taken: BTreeMap<&String, Timestamp> =
            self.jobs.iter().filter_map(|job| Some((&job.key, job.taken()?))).collect();
        let parent = self.taken.parent().unwrap_or(&self.taken);
        let saved: Result<(), DurableError> = durable::create_private_dir(parent)
            .and_then(|()| durable::write_json(&self.taken, &taken, 0o600));
        if let Err(error) = saved {
            // A restart then makes a copy too many.
            tracing::warn!(%error, "what was taken of the schedule is not noted");
        }
    }
}

async fn next(watching: &mut Watching) -> Event {
    match watching {
        Watching::Not => std::future::pending().await,
        Watching::On(watch) => match watch.changed().await {
            Ok(changed) => Event::Changed(changed),
            Err(error) => Event::Unwatched(error),
        },
        Watching::Again(wait) => {
            wait.as_mut().await;
            Event::Watch
        }
    }
}

#[cfg(test)]
mod tests;
