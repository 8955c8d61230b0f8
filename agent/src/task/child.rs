//! The process that does a task: what it writes goes up as fast as it is taken,
//! and it is ended when nobody takes it any more.

use super::{PIECE, Up};
use proto::v1::{TaskEnd, task_up::Body};
use rustix::process::{Pid, Signal, kill_process};
use std::{ffi::OsString, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};

/// From SIGTERM to SIGKILL: a backup's helpers let containers go in that time.
const GRACE: Duration = Duration::from_secs(5);
/// How long output may still come once the process has ended: what it left
/// behind may hold the pipe open.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs the program to its end, or ends it.
pub(super) async fn run(
    program: &Path,
    arguments: Vec<OsString>,
    limit: Duration,
    up: &Up,
    mut stop: oneshot::Receiver<()>,
) -> TaskEnd {
    let mut child = match start(program, arguments) {
        Ok(child) => child,
        Err(error) => return ended(1, format!("the task cannot be started: {error}")),
    };
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return ended(1, "the task has no output".into());
    };
    let (mut out, mut talk) = (Pipe::new(stdout), Pipe::new(stderr));
    let begun = Instant::now();
    let mut until = begun.checked_add(limit).unwrap_or(begun + Duration::from_secs(86_400));
    let mut status = None;
    while status.is_none() || out.open || talk.open {
        let piece = tokio::select! {
            _ = &mut stop => break,
            () = sleep_until(until) => break,
            ended = child.wait(), if status.is_none() => {
                status = Some(ended);
                until = Instant::now() + DRAIN;
                None
            }
            piece = out.next(), if out.open => piece.map(Body::Out),
            piece = talk.next(), if talk.open => piece.map(Body::Talk),
        };
        // A queue that nobody reads any more: it is to stop.
        if let Some(piece) = piece
            && up.send(piece).await.is_err()
        {
            break;
        }
    }
    match status {
        None if begun.elapsed() >= limit => {
            terminate(&mut child).await;
            ended(1, format!("it took longer than {} s and was ended", limit.as_secs()))
        }
        None => {
            terminate(&mut child).await;
            ended(1, "it was ended because nobody waits for it".into())
        }
        Some(Ok(status)) => match status.code() {
            Some(code) => ended(u8::try_from(code).unwrap_or(1), String::new()),
            None => ended(1, format!("its process was killed: {status}")),
        },
        Some(Err(error)) => ended(1, format!("its process is lost: {error}")),
    }
}

fn ended(exit: u8, detail: String) -> TaskEnd {
    TaskEnd { exit: exit.into(), detail }
}

fn start(program: &Path, arguments: Vec<OsString>) -> std::io::Result<Child> {
    Command::new(program)
        .arg("--tied-to")
        .arg(std::process::id().to_string())
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

async fn terminate(child: &mut Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Fails only when it has ended in this moment.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

struct Pipe<R> {
    from: R,
    open: bool,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(from: R) -> Self {
        Self { from, open: true, buffer: vec![0; PIECE] }
    }

    /// What came; nothing at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        match self.from.read(&mut self.buffer).await {
            Ok(0) | Err(_) => {
                self.open = false;
                None
            }
            Ok(length) => Some(self.buffer[..length].to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    /// `sh` knows no `--tied-to`; this passes the rest on to it.
    fn shell(dir: &Path) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("program");
        std::fs::write(&path, "#!/bin/sh\nshift 2\nexec /bin/sh -c \"$1\"\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn played(script: &str, limit: Duration) -> (TaskEnd, Vec<Body>) {
        let dir = tempfile::tempdir().unwrap();
        let (up, mut taken) = mpsc::channel(4);
        let up = Up::to(up);
        let (_keep, stop) = oneshot::channel();
        let program = shell(dir.path());
        let run = run(&program, vec![script.into()], limit, &up, stop);
        tokio::pin!(run);
        let mut all = Vec::new();
        let end = loop {
            tokio::select! {
                end = &mut run => break end,
                message = taken.recv() => all.extend(message.and_then(|message| message.body)),
            }
        };
        while let Ok(message) = taken.try_recv() {
            all.extend(message.body);
        }
        (end, all)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn output_and_exit_code_come_as_they_are() {
        let (end, all) = played("echo data; echo talk >&2; exit 3", LONG).await;
        assert_eq!((end.exit, end.detail.as_str()), (3, ""));
        assert!(all.contains(&Body::Out(b"data\n".to_vec())), "{all:?}");
        assert!(all.contains(&Body::Talk(b"talk\n".to_vec())), "{all:?}");
        let (end, _) = played("kill -9 $$", LONG).await;
        assert_eq!(end.exit, 1);
        assert!(end.detail.contains("signal"), "{}", end.detail);
    }

    #[tokio::test]
    async fn a_process_that_takes_too_long_is_ended() {
        let begun = Instant::now();
        let (end, _) = played("exec sleep 100", Duration::from_millis(200)).await;
        assert_eq!(end.exit, 1);
        assert!(end.detail.contains("took longer"), "{}", end.detail);
        assert!(begun.elapsed() < LONG);
    }

    #[tokio::test]
    async fn what_it_leaves_behind_does_not_hold_up_its_end() {
        let begun = Instant::now();
        let (end, all) = played("sleep 100 & echo $!; exit 0", LONG).await;
        assert_eq!(end.exit, 0);
        assert!(begun.elapsed() < LONG, "the pipe was held open and waited for");
        let Some(Body::Out(pid)) = all.first() else { panic!("{all:?}") };
        let pid: i32 = String::from_utf8_lossy(pid).trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn a_queue_that_nobody_reads_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let (up, taken) = mpsc::channel(1);
        drop(taken);
        let (_keep, stop) = oneshot::channel();
        let up = Up::to(up);
        let end = run(&shell(dir.path()), vec!["exec yes".into()], LONG, &up, stop).await;
        assert!(end.detail.contains("nobody waits"), "{}", end.detail);
    }
}
