//! What a program of the host prints, both its streams in one, until its time is up.

use super::archive::Source;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    io::{self, PipeReader, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Where programs are looked for: an intruder's PATH is none of ours.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program under way. Dropping it ends its whole group.
pub(super) struct Program {
    child: Child,
    out: PipeReader,
    late: Arc<AtomicBool>,
    limit: Duration,
    /// Dropped when the watcher is to stop watching.
    watched: Option<mpsc::Sender<()>>,
}

impl Program {
    /// Starts `words` with a clean environment and without input.
    pub(super) fn start(words: &[String], limit: Duration) -> io::Result<Self> {
        let (first, rest) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (out, writer) = io::pipe()?;
        let child = Command::new(first)
            .args(rest)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .spawn()?;
        let group = Pid::from_child(&child);
        let late = Arc::new(AtomicBool::new(false));
        let (watched, watching) = mpsc::channel::<()>();
        let passed = Arc::clone(&late);
        thread::spawn(move || {
            if watching.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                passed.store(true, Ordering::Relaxed);
                // Fails only when all of it has ended in this moment.
                let _ = kill_process_group(group, Signal::KILL);
            }
        });
        Ok(Self { child, out, late, limit, watched: Some(watched) })
    }
}

impl Read for Program {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.out.read(buffer)
    }
}

impl Source for Program {
    fn fault(&mut self) -> String {
        let ended = self.child.wait();
        if self.late.load(Ordering::Relaxed) {
            return format!("it took longer than {} s and was ended", self.limit.as_secs());
        }
        match ended {
            Ok(status) if status.success() => String::new(),
            Ok(status) => format!("it ended with {status}"),
            Err(error) => format!("it is lost: {error}"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.watched = None;
        // Both fail only when it has ended already.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> (String, String) {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        let mut program = Program::start(&words, limit).unwrap();
        let mut text = String::new();
        program.read_to_string(&mut text).unwrap();
        (text, program.fault())
    }

    #[test]
    fn both_streams_and_the_end_are_told_and_a_slow_one_is_ended() {
        let long = Duration::from_secs(20);
        let (text, fault) = shell("echo out; echo err >&2; echo $HOME", long);
        assert_eq!((text.as_str(), fault.as_str()), ("out\nerr\n\n", ""), "a clean environment");
        assert!(shell("exit 7", long).1.contains('7'));
        let begun = std::time::Instant::now();
        let (text, fault) = shell("echo some; sleep 100 & sleep 100", Duration::from_millis(300));
        assert_eq!(text, "some\n");
        assert!(fault.contains("took longer"), "{fault}");
        assert!(begun.elapsed() < long, "its children held the pipe open");
    }
}
