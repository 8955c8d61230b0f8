//! `coordctl`, called as an operator would, with a limit on how long it may take.

use crate::wait;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How long one call may take; a failover with its progress is the longest.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells the output files of calls apart.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// An operator: a program and a context.
#[derive(Debug, Clone)]
pub struct Ctl {
    program: PathBuf,
    /// The context folder: credentials and the coordinators' addresses.
    pub context: PathBuf,
    /// Where output is kept while a call runs.
    scratch: PathBuf,
    /// What is put before the program, to call it from a machine of the lab.
    entry: Vec<String>,
}

/// What a call came to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The exit code; 255 when a signal ended it.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

/// A call under way.
#[derive(Debug)]
pub struct Call {
    child: Child,
    words: String,
    out: PathBuf,
    err: PathBuf,
}

impl Ctl {
    /// An operator whose context is `folder/operator`.
    #[must_use]
    pub fn new(programs: &Path, folder: &Path) -> Self {
        Self {
            program: programs.join("coordctl"),
            context: folder.join("operator"),
            scratch: folder.to_path_buf(),
            entry: Vec::new(),
        }
    }

    /// The same operator behind `entry`, a command that runs what follows it.
    #[must_use]
    pub fn behind(self, entry: Vec<String>) -> Self {
        Self { entry, ..self }
    }

    /// The same operator's program with another context.
    #[must_use]
    pub fn with_context(&self, context: &Path) -> Self {
        Self { context: context.to_path_buf(), ..self.clone() }
    }

    /// Starts a call and does not wait for it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn begin(&self, arguments: &[&str]) -> Result<Call> {
        let number = CALLS.fetch_add(1, Ordering::Relaxed);
        let name = format!("call-{}-{number}", std::process::id());
        let out = self.scratch.join(format!("{name}.out"));
        let err = self.scratch.join(format!("{name}.err"));
        let program = self.program.display().to_string();
        let mut words = self.entry.iter().chain([&program]);
        let child = Command::new(words.next().context("no program")?)
            .args(words)
            .args(arguments)
            .env("UNDERSTUDY_CONTEXT", &self.context)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .with_context(|| format!("could not start {}", self.program.display()))?;
        Ok(Call { child, words: format!("coordctl {}", arguments.join(" ")), out, err })
    }

    /// Calls and waits, whatever the exit code.
    ///
    /// # Errors
    /// When the call does not end within a minute.
    pub fn run(&self, arguments: &[&str]) -> Result<Answer> {
        self.begin(arguments)?.finish()
    }

    /// Calls; anything but exit code 0 is an error with the program's words.
    ///
    /// # Errors
    /// When the call fails or does not end in time.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let answer = self.run(arguments)?;
        ensure!(
            answer.code == 0,
            "`coordctl {}` ended with {}: {}{}",
            arguments.join(" "),
            answer.code,
            answer.stdout,
            answer.stderr
        );
        Ok(answer.stdout)
    }

    /// Calls with `--json` and reads the answer.
    ///
    /// # Errors
    /// When the call fails or prints other than JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = arguments.to_vec();
        all.push("--json");
        let text = self.ok(&all)?;
        serde_json::from_str(&text)
            .with_context(|| format!("`coordctl {}` printed no JSON: {text}", all.join(" ")))
    }
}

impl Call {
    /// Kills it: the operator is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        fs::remove_file(&self.out)?;
        Ok(fs::remove_file(&self.err)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end within a minute; it is killed then.
    pub fn finish(mut self) -> Result<Answer> {
        let child = &mut self.child;
        let ended = wait::until(&format!("`{}` to end", self.words), PATIENCE, || {
            child.try_wait()?.context("still running")
        });
        if ended.is_err() {
            self.child.kill()?;
            self.child.wait()?;
        }
        let answer = Answer {
            code: -1,
            stdout: fs::read_to_string(&self.out)?,
            stderr: fs::read_to_string(&self.err)?,
        };
        fs::remove_file(&self.out)?;
        fs::remove_file(&self.err)?;
        let status =
            ended.with_context(|| format!("it said: {}{}", answer.stdout, answer.stderr))?;
        Ok(Answer { code: status.code().unwrap_or(255), ..answer })
    }
}
