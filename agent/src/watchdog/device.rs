//! The device itself, behind a seam for tests.

use super::timeout;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileTypeExt,
    path::Path,
    time::Duration,
};

/// What is done with an open device.
pub(super) trait Device: Send {
    /// Any byte feeds it; `V` lets the next close stop it.
    fn write(&mut self, byte: &[u8]) -> io::Result<()>;

    /// When it resets the host, from the newest feed.
    fn timeout(&self) -> Duration;
}

/// A real one.
pub(super) struct Character {
    file: File,
    timeout: Duration,
}

impl Character {
    /// Opens and thereby arms it. One that will not reset the host within `limit`
    /// is stopped again and refused.
    pub(super) fn open(path: &Path, limit: Duration) -> io::Result<Box<dyn Device>> {
        if !path.metadata()?.file_type().is_char_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no watchdog device"));
        }
        let file = OpenOptions::new().write(true).open(path)?;
        let mut device = Self { file, timeout: limit };
        let set = timeout::set(&device.file, limit).and_then(|set| {
            if set <= limit {
                return Ok(set);
            }
            let words = format!("it resets after {} s, and not sooner", set.as_secs());
            Err(io::Error::other(words))
        });
        match set {
            Ok(set) => device.timeout = set,
            Err(error) => {
                device.write(b"V")?;
                return Err(error);
            }
        }
        Ok(Box::new(device))
    }
}

impl Device for Character {
    fn write(&mut self, byte: &[u8]) -> io::Result<()> {
        self.file.write_all(byte)
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// Whether the kernel says that this device runs (an earlier agent was killed).
#[must_use]
pub fn is_running(device: &Path) -> bool {
    let Some(name) = device.file_name().and_then(|name| name.to_str()) else { return false };
    // The plain name is that of the first one.
    let name = if name == "watchdog" { "watchdog0" } else { name };
    let state = std::fs::read_to_string(format!("/sys/class/watchdog/{name}/state"));
    state.is_ok_and(|state| state.trim() == "active")
}
