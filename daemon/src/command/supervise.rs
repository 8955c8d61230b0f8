//! One running program from its start to the end of its process group.

use super::{Output, Status};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{io, os::unix::process::ExitStatusExt, pin::Pin, process::ExitStatus, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin},
    time::{Instant, sleep_until, timeout_at},
};

/// How long output is still read after the program itself has ended, while
/// others hold its pipes open.
const LINGER: Duration = Duration::from_millis(500);

/// How long the kernel may take to end a killed process; only one that hangs
/// in a system call (a dead disk) takes longer.
const KILL_WAIT: Duration = Duration::from_secs(2);

/// What came of it.
pub(super) struct Supervised {
    pub(super) ending: Ending,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

/// Who ended it.
pub(super) enum Ending {
    Itself(Status),
    Deadline { killed: bool },
}

/// A process group that is killed when dropped.
struct Group(Option<Pid>);

impl Group {
    /// A failure means that nobody is left in it.
    fn signal(&self, signal: Signal) -> bool {
        self.0.is_some_and(|pid| kill_process_group(pid, signal).is_ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The leader may have been reaped by now. Its number stays taken while
        // anybody is left in the group; when nobody is, the numbers would have
        // to wrap around within this moment to hit a stranger.
        self.signal(Signal::KILL);
    }
}

/// Feeds, drains and waits, until the program's end or its deadline.
pub(super) async fn supervise(
    mut child: Child,
    stdin: &[u8],
    deadline: Duration,
    grace: Duration,
) -> io::Result<Supervised> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let group = Group(pid);
    let (mut stdout, mut stderr) = (Output::default(), Output::default());
    let ending = {
        let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pipes = async {
            tokio::join!(feed(input, stdin), stdout.drain(out), stderr.drain(err));
        };
        let mut pipes = Pipes { work: std::pin::pin!(pipes), done: false };
        // A deadline beyond the clock's range is none.
        let end = Instant::now().checked_add(deadline);
        match wait(&mut child, &mut pipes, end).await? {
            Some(status) => {
                let linger = Instant::now() + LINGER;
                pipes.until(end.map_or(linger, |end| end.min(linger))).await;
                drop(group);
                Ending::Itself(status_of(status))
            }
            None => {
                Ending::Deadline { killed: end_group(&mut child, &mut pipes, group, grace).await? }
            }
        }
    };
    Ok(Supervised { ending, stdout, stderr })
}

/// Ends a group at its deadline; true when SIGTERM was not enough.
async fn end_group<F: Future<Output = ()>>(
    child: &mut Child,
    pipes: &mut Pipes<'_, F>,
    group: Group,
    grace: Duration,
) -> io::Result<bool> {
    group.signal(Signal::TERM);
    let ended = wait(child, pipes, Instant::now().checked_add(grace)).await?.is_some();
    if ended {
        pipes.until(Instant::now() + LINGER).await;
    }
    let others_held_on = !pipes.done;
    drop(group);
    if !ended {
        wait(child, pipes, Some(Instant::now() + KILL_WAIT)).await?;
    }
    pipes.until(Instant::now() + LINGER).await;
    Ok(!ended || others_held_on)
}

/// The three pipes' work, which may end before or after the program.
struct Pipes<'a, F> {
    work: Pin<&'a mut F>,
    done: bool,
}

impl<F: Future<Output = ()>> Pipes<'_, F> {
    /// Works on, until all is read or the time has come.
    async fn until(&mut self, end: Instant) {
        if !self.done {
            self.done = timeout_at(end, &mut self.work).await.is_ok();
        }
    }
}

/// Works on the pipes until the program ends; `None` when the time came first.
async fn wait<F: Future<Output = ()>>(
    child: &mut Child,
    pipes: &mut Pipes<'_, F>,
    end: Option<Instant>,
) -> io::Result<Option<ExitStatus>> {
    let time = async {
        match end {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(time);
    loop {
        tokio::select! {
            // An end that has come counts more than a deadline that has too.
            biased;
            status = child.wait() => return status.map(Some),
            () = &mut pipes.work, if !pipes.done => pipes.done = true,
            () = &mut time => return Ok(None),
        }
    }
}

async fn feed(pipe: Option<ChildStdin>, bytes: &[u8]) {
    if let Some(mut pipe) = pipe {
        // A program that does not read its input closes the pipe: its right.
        let _ = pipe.write_all(bytes).await;
        let _ = pipe.shutdown().await;
    }
}

fn status_of(status: ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Code(code),
        (None, signal) => Status::Signal(signal.unwrap_or(0)),
    }
}
