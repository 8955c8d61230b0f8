//! What a program writes to stdout, and files copied out of a container.
//!
//! The end of a stream is where it shows whether it is whole: the exit code,
//! stderr, the deadline and an empty output are looked at there, and a fault
//! then is a read error, so that no snapshot is made of half a dump.

use super::{
    SourceError,
    docker::{Docker, Found},
    walk::Content,
};
use crate::{
    config::{CommandSource, FilesSource},
    repository::Control,
};
use bollard::{
    container::LogOutput, exec::StartExecResults, models::ExecConfig,
    query_parameters::DownloadFromContainerOptionsBuilder,
};
use bytes::Bytes;
use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::time::timeout_at;

/// What is kept of stderr: enough to say why.
const STDERR_MAX: usize = 16 * 1024;
/// Pieces between a container and the reader: a few, so that a slow reader
/// slows the container down instead of filling the memory.
const PIECES: usize = 8;

/// Says what is wrong with a stream that has ended, if anything.
fn verdict(
    name: &str,
    bytes: u64,
    ended: Result<(), String>,
    stderr: &[u8],
    stderr_ok: bool,
) -> Result<(), String> {
    let said = one_line(stderr);
    let with =
        |words: String| if said.is_empty() { words } else { format!("{words}; it said: {said}") };
    match ended {
        Err(words) => Err(with(format!("{name}: {words}"))),
        Ok(()) if bytes == 0 => Err(with(format!("{name} wrote nothing"))),
        Ok(()) if !said.is_empty() && !stderr_ok => Err(format!(
            "{name} ended well and wrote to stderr: {said}; if that is no failure, set stderr_ok = true"
        )),
        Ok(()) => Ok(()),
    }
}

fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let visible: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

// ---------------------------------------------------------------------------
// A program of this host.

struct Program {
    name: String,
    stdout: ChildStdout,
    child: Option<Child>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    /// Dropped when the program has ended: the deadline's thread then ends too.
    alarm: Option<Sender<()>>,
    deadline: Instant,
    timeout: Duration,
    stderr_ok: bool,
    bytes: u64,
    control: Arc<Control>,
}

/// Starts a program; reading its output is then up to the library.
pub(super) fn of_program(
    command: &CommandSource,
    control: &Arc<Control>,
) -> Result<Content, SourceError> {
    let name = command.command.first().cloned().unwrap_or_default();
    let failed = |source: io::Error| SourceError::NotStarted { program: name.clone(), source };
    let mut child = Command::new(&name)
        .args(command.command.iter().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let (Some(stdout), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed(io::Error::other("it has no pipes")));
    };
    let stderr = std::thread::spawn(move || {
        let mut kept = Vec::new();
        // Read to its end, so that the program never waits for us.
        let _ = errors.by_ref().take(STDERR_MAX as u64).read_to_end(&mut kept);
        let _ = io::copy(&mut errors, &mut io::sink());
        kept
    });
    let (alarm, over) = channel::<()>();
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let timeout = command.timeout;
    std::thread::spawn(move || {
        if let (Err(RecvTimeoutError::Timeout), Some(group)) = (over.recv_timeout(timeout), group) {
            // Its end is then seen at its pipe.
            let _ = kill_process_group(group, Signal::KILL);
        }
    });
    Ok(Box::new(Program {
        name,
        stdout,
        child: Some(child),
        stderr: Some(stderr),
        alarm: Some(alarm),
        deadline: Instant::now() + timeout,
        timeout,
        stderr_ok: command.stderr_ok,
        bytes: 0,
        control: Arc::clone(control),
    }))
}

impl Program {
    fn end(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let status = child.wait();
        drop(self.alarm.take());
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let ended = match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) if Instant::now() >= self.deadline => {
                Err(format!("was ended after {} s (timeout)", self.timeout.as_secs()))
            }
            Ok(status) => Err(format!("failed ({status})")),
            Err(error) => Err(error.to_string()),
        };
        verdict(&self.name, self.bytes, ended, &stderr, self.stderr_ok)
    }
}

impl Read for Program {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let words = match self.stdout.read(buffer) {
            Ok(0) if !buffer.is_empty() => match self.end() {
                Ok(()) => return Ok(0),
                Err(words) => words,
            },
            Ok(count) => {
                self.bytes += count as u64;
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => format!("{}: {error}", self.name),
        };
        self.control.fault(words.clone());
        Err(io::Error::other(words))
    }
}

impl Drop for Program {
    /// A reader that gives up ends the program, and does not leave it behind.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
        }
    }
}

// ---------------------------------------------------------------------------
// A stream of a container's, from a thread that has Docker's connection.

type Piece = Result<Bytes, String>;

struct Pieces {
    from: Receiver<Piece>,
    current: Bytes,
    ended: bool,
    control: Arc<Control>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.from.recv() {
                Ok(Ok(bytes)) if bytes.is_empty() => self.ended = true,
                Ok(Ok(bytes)) => self.current = bytes,
                Ok(Err(words)) => {
                    self.control.fault(words.clone());
                    return Err(io::Error::other(words));
                }
                // A thread that ends well says so with an empty piece.
                Err(_) => {
                    self.control.fault("the connection to Docker ended");
                    return Err(io::Error::other("the connection to Docker ended"));
                }
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

fn pieces(
    control: &Arc<Control>,
    work: impl FnOnce(&SyncSender<Piece>) -> Result<(), String> + Send + 'static,
) -> Content {
    let (to, from) = sync_channel(PIECES);
    std::thread::spawn(move || {
        let last = work(&to).map(|()| Bytes::new());
        // Nobody reads any more: then nobody has to know either.
        let _ = to.send(last);
    });
    Box::new(Pieces { from, current: Bytes::new(), ended: false, control: Arc::clone(control) })
}

/// A program in a container.
pub(super) fn of_exec(
    docker: Docker,
    container: &Found,
    command: &CommandSource,
    control: &Arc<Control>,
) -> Content {
    let (id, command) = (container.id.clone(), command.clone());
    let name = format!("{} in container `{}`", command.command.join(" "), container.name);
    pieces(control, move |to| {
        let mut run = Exec { bytes: 0, stderr: Vec::new() };
        let ended = docker.runtime.block_on(run.run(&docker.client, &id, &command, to));
        verdict(&name, run.bytes, ended, &run.stderr, command.stderr_ok)
    })
}

struct Exec {
    bytes: u64,
    stderr: Vec<u8>,
}

impl Exec {
    async fn run(
        &mut self,
        client: &bollard::Docker,
        container: &str,
        command: &CommandSource,
        to: &SyncSender<Piece>,
    ) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + command.timeout;
        let late = |_| format!("did not end within {} s (timeout)", command.timeout.as_secs());
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.command.clone()),
            ..ExecConfig::default()
        };
        let work = async {
            let made = client.create_exec(container, config).await?;
            let started = client.start_exec(&made.id, None).await?;
            let StartExecResults::Attached { mut output, .. } = started else { return Ok(None) };
            while let Some(piece) = output.next().await {
                match piece? {
                    LogOutput::StdOut { message } | LogOutput::Console { message } => {
                        self.bytes += message.len() as u64;
                        if !message.is_empty() && to.send(Ok(message)).is_err() {
                            return Ok(None);
                        }
                    }
                    LogOutput::StdErr { message } => {
                        let room = STDERR_MAX.saturating_sub(self.stderr.len()).min(message.len());
                        self.stderr.extend_from_slice(&message[..room]);
                    }
                    LogOutput::StdIn { .. } => {}
                }
            }
            Ok(client.inspect_exec(&made.id).await?.exit_code)
        };
        let done: Result<Option<i64>, bollard::errors::Error> =
            timeout_at(deadline, work).await.map_err(late)?;
        match done {
            Ok(Some(0)) => Ok(()),
            Ok(Some(code)) => Err(format!("failed (exit code {code})")),
            Ok(None) => Err("ended in an unknown way".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Files of a container, as the tar archive that Docker makes of them.
pub(super) fn of_files(
    docker: Docker,
    container: &Found,
    files: &FilesSource,
    control: &Arc<Control>,
) -> Content {
    let (id, path) = (container.id.clone(), files.path.to_string_lossy().into_owned());
    let name = format!("copying {path} out of container `{}`", container.name);
    pieces(control, move |to| {
        let options = DownloadFromContainerOptionsBuilder::default().path(&path).build();
        docker.runtime.block_on(async {
            let mut output =
                std::pin::pin!(docker.client.download_from_container(&id, Some(options)));
            let mut tail = Tail::default();
            while let Some(piece) = output.next().await {
                let bytes = piece.map_err(|error| format!("{name}: {error}"))?;
                tail.push(&bytes);
                if !bytes.is_empty() && to.send(Ok(bytes)).is_err() {
                    return Err(format!("{name}: nobody reads it"));
                }
            }
            if tail.is_whole() { Ok(()) } else { Err(format!("{name}: the archive is cut off")) }
        })
    })
}

/// The end of a tar archive: two blocks of zeros. Docker ends the connection in
/// the same way when it fails half way.
#[derive(Default)]
struct Tail {
    zeros: usize,
}

impl Tail {
    const BLOCKS: usize = 1024;

    fn push(&mut self, bytes: &[u8]) {
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros = if zeros == bytes.len() { self.zeros.saturating_add(zeros) } else { zeros };
    }

    const fn is_whole(&self) -> bool {
        self.zeros >= Self::BLOCKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(command: &[&str], timeout: Duration, stderr_ok: bool) -> (io::Result<String>, u64) {
        let control = Arc::new(Control::default());
        let source = CommandSource {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            container: None,
            file: "out".into(),
            timeout,
            stderr_ok,
        };
        let mut text = String::new();
        let done = of_program(&source, &control).unwrap().read_to_string(&mut text);
        (done.map(|_| text), control.faults())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_that_ends_well_gives_its_output() {
        let (text, faults) = read(&["/bin/sh", "-c", "echo all of it"], LONG, false);
        assert_eq!((text.unwrap().as_str(), faults), ("all of it\n", 0));
    }

    #[test]
    fn a_program_that_fails_half_way_is_a_fault() {
        for (script, word) in [
            ("echo half; echo no room >&2; exit 3", "no room"),
            ("echo half; kill -9 $$", "signal"),
            ("true", "wrote nothing"),
            ("echo all; echo careful >&2", "stderr_ok"),
        ] {
            let (done, faults) = read(&["/bin/sh", "-c", script], LONG, false);
            let words = done.unwrap_err().to_string();
            assert!(words.contains(word), "{script}: {words}");
            assert_eq!(faults, 1, "{script}");
        }
        assert_eq!(read(&["/bin/sh", "-c", "echo all; echo careful >&2"], LONG, true).1, 0);
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let begun = Instant::now();
        let script = "echo half; exec sleep 100";
        let (done, faults) = read(&["/bin/sh", "-c", script], Duration::from_secs(1), false);
        let words = done.unwrap_err().to_string();
        assert!(words.contains("timeout") && faults == 1, "{words}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_reader_that_gives_up_leaves_no_program() {
        let control = Arc::new(Control::default());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("echo $$ > {}; exec yes", file.display());
        let source = CommandSource {
            command: vec!["/bin/sh".into(), "-c".into(), script],
            container: None,
            file: "out".into(),
            timeout: LONG,
            stderr_ok: false,
        };
        let mut reader = of_program(&source, &control).unwrap();
        reader.read_exact(&mut [0; 4096]).unwrap();
        let pid = std::fs::read_to_string(&file).unwrap();
        drop(reader);
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
    }

    #[test]
    fn a_cut_archive_is_told_from_a_whole_one() {
        let mut tail = Tail::default();
        tail.push(&[1; 600]);
        assert!(!tail.is_whole());
        tail.push(&[0; 1000]);
        assert!(!tail.is_whole());
        tail.push(&[0; 24]);
        assert!(tail.is_whole());
        tail.push(&[0, 1]);
        assert!(!tail.is_whole());
    }
}
