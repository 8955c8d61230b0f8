//! The program's output: appended to a file that is renamed to `.1` at 1 MiB,
//! so that it never holds more than 2 MiB of disk.
//!
//! On a thread of its own. A log that cannot be written is dropped: output is
//! always drained, or the program would stop at a full pipe.

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// Size at which the file is put aside, in bytes.
const ROTATE_AT: u64 = 1 << 20;

/// How long the last output may take to reach the disk once the program is gone.
const DRAIN: Duration = Duration::from_secs(1);

/// The thread that writes.
pub(super) struct Logging {
    done: Receiver<()>,
}

impl Logging {
    /// Waits, within a limit, until all output is written.
    pub(super) fn finish(self) {
        let _ = self.done.recv_timeout(DRAIN);
    }
}

/// Starts the thread and gives the end for the program to write to.
pub(super) fn start(path: Option<PathBuf>) -> io::Result<(PipeWriter, Logging)> {
    let (reader, writer) = io::pipe()?;
    let (tell, done) = channel();
    thread::Builder::new().name("log".into()).stack_size(64 << 10).spawn(move || {
        copy(reader, path.as_deref());
        let _ = tell.send(());
    })?;
    Ok((writer, Logging { done }))
}

fn copy(mut reader: PipeReader, path: Option<&Path>) {
    let mut log = path.and_then(|path| Log::open(path).ok());
    let mut bytes = [0; 8192];
    loop {
        match reader.read(&mut bytes) {
            Ok(0) => return,
            Ok(length) => {
                if let Some(open) = &mut log
                    && open.write(&bytes[..length]).is_err()
                {
                    log = path.and_then(|path| Log::open(path).ok());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

struct Log {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.into(), file, size })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size >= ROTATE_AT {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            std::fs::rename(&self.path, aside)?;
            *self = Self::open(&self.path)?;
        }
        self.file.write_all(bytes)?;
        self.size = self.size.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_put_aside_once_and_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("service.log");
        let (mut writer, logging) = start(Some(path)).unwrap();
        let line = [b'x'; 4096];
        for _ in 0..1000 {
            writer.write_all(&line).unwrap();
        }
        drop(writer);
        logging.finish();
        let mut names: Vec<_> =
            dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["service.log", "service.log.1"]);
        for name in names {
            let size = dir.path().join(name).metadata().unwrap().len();
            assert!(size > 0 && size <= ROTATE_AT + 8192, "{size}");
        }
    }

    #[test]
    fn output_is_drained_without_a_file() {
        let (mut writer, logging) = start(Some("/nonexistent/x.log".into())).unwrap();
        writer.write_all(&[0; 1 << 20]).unwrap();
        drop(writer);
        logging.finish();
    }
}
