//! The holder: runs one program and never lets it outlive its lease (A1 to A3
//! for the process driver), in the cgroup that the kernel gate looks at.
//!
//! A small process of its own between the agent and the program. It kills the
//! program and everything that the program started, with SIGKILL, (a) when the
//! newest deadline passes on `CLOCK_BOOTTIME`, by its own timer, so also while
//! the agent is stopped or starved; (b) when its stdin ends, because the agent
//! died; (c) when told to stop; (d) when it cannot read what it is told. A
//! program whose holder is itself killed gets SIGKILL from the kernel.
//!
//! stdin, one line each: a deadline in milliseconds of `CLOCK_BOOTTIME`,
//! `none` (a service that is not exclusive), or `stop`. The first line must
//! come before the program is started. stdout, one line each: `started PID`,
//! then one of `exited code N`, `exited signal N`, `killed REASON`, `failed WORDS`
//! (it never ran), `unconfirmed WORDS` (something of it does not die).
//!
//! No async and no queue. The only thread beside the main one writes the
//! program's log, so that a slow disk cannot hold up a kill. The program must
//! stay in the foreground: when it ends, whatever it left behind is killed too.

mod cgroup;
mod family;
mod input;
mod log;
mod stage;

use daemon::clock::boottime_ms;
use input::{Input, Told};
use log::Logging;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use std::{
    ffi::OsString,
    fmt,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

/// How long the holder waits for its first line, in milliseconds: the agent
/// writes it at once, so more means that the agent is not there.
const FIRST_LINE_MS: u64 = 5_000;

/// Longest sleep between two looks for ended descendants, which the holder
/// must reap because it is their new parent.
const REAP_EVERY: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// How long killing may take before the holder says that it failed: a process
/// in an uninterruptible system call does not die before that call returns.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// What the holder was started with.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    log: Option<PathBuf>,
    cgroup: Option<PathBuf>,
    program: Vec<OsString>,
}

/// Why the holder's program is no more.
#[derive(Debug)]
enum End {
    Exited(WaitStatus),
    Killed(Reason),
    Failed(String),
    Unconfirmed(String),
}

/// Why the holder killed its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Deadline,
    AgentGone,
    Stop,
    Garbled,
}

impl Reason {
    const fn word(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::AgentGone => "agent-gone",
            Self::Stop => "stop",
            Self::Garbled => "garbled",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => write!(f, "exited code {code}"),
                (None, Some(signal)) => write!(f, "exited signal {signal}"),
                (None, None) => write!(f, "exited code -1"),
            },
            Self::Killed(reason) => write!(f, "killed {}", reason.word()),
            Self::Failed(words) => write!(f, "failed {}", words.replace('\n', " ")),
            Self::Unconfirmed(words) => write!(f, "unconfirmed {}", words.replace('\n', " ")),
        }
    }
}

/// Runs the holder until its program is gone; `args` are those after `hold`.
///
/// Exit code 0 says that it ran or was not to run, and that nothing of it is left.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(parent) = stage::parent(&args) {
        return stage::become_program(parent, args);
    }
    let (end, logging) = parse(args)
        .and_then(|arguments| hold(&arguments))
        .unwrap_or_else(|error| (failed(error), None));
    // Said before the log is written out: the agent waits for it.
    say(&end);
    if let Some(logging) = logging {
        logging.finish();
    }
    match end {
        End::Exited(_) | End::Killed(_) => ExitCode::SUCCESS,
        End::Failed(_) | End::Unconfirmed(_) => ExitCode::FAILURE,
    }
}

fn parse(args: Vec<OsString>) -> io::Result<Arguments> {
    let usage = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("hold: {what}; it is started by the agent, not by hand"),
        )
    };
    let (mut log, mut cgroup) = (None, None);
    let mut rest = args.into_iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--boottime-deadline-from-stdin") => {}
            Some("--log") => {
                log = Some(rest.next().ok_or_else(|| usage("--log needs a file"))?.into());
            }
            Some("--cgroup") => {
                cgroup =
                    Some(rest.next().ok_or_else(|| usage("--cgroup needs a directory"))?.into());
            }
            Some("--") => {
                let program: Vec<OsString> = rest.collect();
                if program.is_empty() {
                    return Err(usage("no program after --"));
                }
                return Ok(Arguments { log, cgroup, program });
            }
            Some(_) | None => return Err(usage(&format!("unknown argument {argument:?}"))),
        }
    }
    Err(usage("no program"))
}

/// Writes one status line. A reader that is gone is no reason to stop killing.
fn say(what: &dyn fmt::Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}

fn hold(arguments: &Arguments) -> io::Result<(End, Option<Logging>)> {
    let mut input = Input::from_stdin()?;
    let deadline = match first_line(&mut input)? {
        Ok(deadline) => deadline,
        Err(reason) => return Ok((End::Killed(reason), None)),
    };
    cgroup::enter(arguments.cgroup.as_ref())?;
    family::adopt_orphans()?;
    let (writer, logging) = log::start(arguments.log.clone())?;
    let (report, childs_end) = UnixStream::pair()?;
    let leader = stage::spawn(&arguments.program, childs_end, writer)?;
    let end = Watched::new(leader, deadline, report)
        .and_then(|mut watched| watched.until_end(&mut input))
        .unwrap_or_else(failed);
    let end = match family::kill(leader, KILL_LIMIT) {
        Ok(()) => end,
        Err(error) => End::Unconfirmed(format!("{error} ({end})")),
    };
    Ok((end, Some(logging)))
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function of an error")]
fn failed(error: io::Error) -> End {
    End::Failed(error.to_string())
}

/// The deadline to start with, or why not to start at all.
fn first_line(input: &mut Input) -> io::Result<Result<Option<u64>, Reason>> {
    let limit = boottime_ms().saturating_add(FIRST_LINE_MS);
    loop {
        match input.take() {
            Some(Told::Deadline(at)) if at <= boottime_ms() => return Ok(Err(Reason::Deadline)),
            Some(Told::Deadline(at)) => return Ok(Ok(Some(at))),
            Some(Told::NoDeadline) => return Ok(Ok(None)),
            Some(Told::Stop) => return Ok(Err(Reason::Stop)),
            Some(Told::Garbled) => return Ok(Err(Reason::Garbled)),
            None => {}
        }
        let left = limit.saturating_sub(boottime_ms());
        if input.ended() || left == 0 {
            return Ok(Err(Reason::AgentGone));
        }
        let wait = Timespec { tv_sec: 0, tv_nsec: 1_000_000 * left.min(500).cast_signed() };
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut fds, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => input.read()?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A running program and everything that can end it.
struct Watched {
    leader: Pid,
    exit: OwnedFd,
    timer: OwnedFd,
    deadline: Option<u64>,
    /// Where the stage says why it could not become the program; `None` once known.
    report: Option<UnixStream>,
}

impl Watched {
    fn new(leader: Pid, deadline: Option<u64>, report: UnixStream) -> io::Result<Self> {
        report.set_nonblocking(true)?;
        let exit = pidfd_open(leader, PidfdFlags::empty())?;
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let mut watched = Self { leader, exit, timer, deadline: None, report: Some(report) };
        watched.set_deadline(deadline)?;
        Ok(watched)
    }

    fn set_deadline(&mut self, deadline: Option<u64>) -> io::Result<()> {
        self.deadline = deadline;
        // A zero value disarms the timer, which is what no deadline means; a
        // deadline that has passed already is found before the next wait.
        let at = deadline.unwrap_or(0);
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(at / 1000).unwrap_or(i64::MAX),
            tv_nsec: 1_000_000 * (at % 1000).cast_signed(),
        };
        let spec = Itimerspec { it_interval: never, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }

    /// Waits until the program ended or has to end. What was told comes
    /// before the deadline's check: a renewal that lay unread is still one.
    fn until_end(&mut self, input: &mut Input) -> io::Result<End> {
        loop {
            while let Some(told) = input.take() {
                match told {
                    Told::Deadline(at) => self.set_deadline(Some(at))?,
                    Told::NoDeadline => self.set_deadline(None)?,
                    Told::Stop => return Ok(End::Killed(Reason::Stop)),
                    Told::Garbled => return Ok(End::Killed(Reason::Garbled)),
                }
            }
            if self.deadline.is_some_and(|at| boottime_ms() >= at) {
                return Ok(End::Killed(Reason::Deadline));
            }
            if input.ended() {
                return Ok(End::Killed(Reason::AgentGone));
            }
            if let Some(words) = self.start_failure() {
                return Ok(End::Failed(words));
            }
            if let Some(status) = family::reap(self.leader) {
                return Ok(End::Exited(status));
            }
            if self.wait()? {
                input.read()?;
            }
        }
    }

    /// Whether the program could not be executed; says `started` once it was.
    fn start_failure(&mut self) -> Option<String> {
        let report = self.report.as_mut()?;
        let mut words = [0; 512];
        match report.read(&mut words) {
            Ok(0) => {
                self.report = None;
                say(&format_args!("started {}", self.leader.as_raw_nonzero()));
                None
            }
            Ok(length) => Some(String::from_utf8_lossy(&words[..length]).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(format!("its start could not be watched: {error}")),
        }
    }

    /// Sleeps until something may have happened; true when stdin can be read.
    fn wait(&self) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut fds = vec![
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::from_borrowed_fd(self.timer.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.exit.as_fd(), PollFlags::IN),
        ];
        if let Some(report) = &self.report {
            fds.push(PollFd::from_borrowed_fd(report.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, Some(&REAP_EVERY)) {
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits for no one: what `waitpid` needs to be told.
const NO_WAIT: WaitOptions = WaitOptions::NOHANG;

#[cfg(test)]
mod tests {
    use super::*;

    fn words(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn arguments_are_read_strictly() {
        let given = ["--cgroup", "/c", "--log", "/l", "--", "/bin/x", "--log"];
        let parsed = parse(words(&given)).unwrap();
        assert_eq!(parsed.log.unwrap(), PathBuf::from("/l"));
        assert_eq!(parsed.cgroup.unwrap(), PathBuf::from("/c"));
        assert_eq!(parsed.program, words(&["/bin/x", "--log"]));
        for bad in [&["--"][..], &[], &["--log"], &["--cgroup"], &["--lag", "--", "x"]] {
            assert!(parse(words(bad)).is_err(), "{bad:?} was accepted");
        }
    }
}
