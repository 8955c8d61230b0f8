//! The bytes that a device gets, and when.

use super::*;
use std::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Instant,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Tells what is done to it; closing is told as `.`.
struct Fake(Sender<u8>);

impl Device for Fake {
    fn write(&mut self, byte: &[u8]) -> io::Result<()> {
        byte.iter().for_each(|byte| self.0.send(*byte).unwrap());
        Ok(())
    }

    /// It takes less than was asked for.
    fn timeout(&self) -> Duration {
        TIMEOUT / 2
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.0.send(b'.');
    }
}

fn config(device: &Path) -> WatchdogConfig {
    WatchdogConfig { device: device.into(), timeout: TIMEOUT }
}

/// A watchdog over a fake; opening is told as `o`.
pub(crate) fn fake() -> (Watchdog, Receiver<u8>) {
    let (told, tell) = channel();
    let open = move |_: &Path, limit: Duration| -> io::Result<Box<dyn Device>> {
        assert_eq!(limit, TIMEOUT);
        told.send(b'o').unwrap();
        Ok(Box::new(Fake(told.clone())))
    };
    // Any file that is there.
    (Watchdog::with(Some(&config(Path::new("/dev/null"))), Box::new(open)), tell)
}

fn until(watchdog: &Watchdog, wanted: WatchdogState) {
    let begun = Instant::now();
    while watchdog.state() != wanted {
        assert!(begun.elapsed() < PATIENCE, "{:?} {}", watchdog.state(), watchdog.why());
        thread::yield_now();
    }
}

fn next(tell: &Receiver<u8>) -> char {
    char::from(tell.recv_timeout(PATIENCE).unwrap())
}

#[test]
fn it_is_armed_fed_and_stopped_with_the_magic_letter() {
    let (watchdog, tell) = fake();
    // Nothing is armed by looking, nor by a loop that is healthy.
    assert_eq!(watchdog.state(), WatchdogState::Disarmed);
    watchdog.feed();
    assert!(tell.recv_timeout(Duration::from_millis(100)).is_err());
    watchdog.arm();
    assert_eq!((next(&tell), next(&tell)), ('o', '\0'));
    until(&watchdog, WatchdogState::Armed);
    assert_eq!(watchdog.timeout(), Some(TIMEOUT / 2), "the device's own");
    watchdog.feed();
    assert_eq!(next(&tell), '\0');
    // Fed by the loop alone: without it the device gets nothing.
    assert!(tell.recv_timeout(Duration::from_millis(200)).is_err());
    watchdog.disarm();
    assert_eq!((next(&tell), next(&tell)), ('V', '.'));
    until(&watchdog, WatchdogState::Disarmed);
    watchdog.arm();
    assert_eq!(next(&tell), 'o');
}

#[test]
fn an_agent_that_ends_without_stopping_it_leaves_it_running() {
    let (watchdog, tell) = fake();
    watchdog.arm();
    until(&watchdog, WatchdogState::Armed);
    drop(watchdog);
    let bytes: Vec<u8> = tell.iter().collect();
    assert!(!bytes.contains(&b'V') && bytes.ends_with(b"."), "{bytes:?}");
}

#[test]
fn what_is_no_watchdog_is_not_called_armed() {
    let none = Watchdog::open(None);
    assert_eq!((none.state(), none.why().contains("[watchdog]")), (WatchdogState::Absent, true));
    let gone = Watchdog::open(Some(&config(Path::new("/nonexistent/watchdog"))));
    gone.arm();
    assert_eq!(gone.state(), WatchdogState::Absent);
    let file = tempfile::NamedTempFile::new().unwrap();
    // A character device that is no watchdog refuses the time, a file the opening.
    for (device, words) in [(file.path(), "no watchdog device"), (Path::new("/dev/null"), "ioctl")]
    {
        let odd = Watchdog::open(Some(&config(device)));
        odd.arm();
        let begun = Instant::now();
        while !odd.why().contains(words) {
            assert!(begun.elapsed() < PATIENCE, "{}", odd.why());
            thread::yield_now();
        }
        assert_eq!(odd.state(), WatchdogState::Disarmed);
    }
}

#[test]
fn its_settings_are_checked() {
    let read = |text: &str| toml::from_str::<WatchdogConfig>(text).map_err(|e| e.to_string());
    let good = read("device = \"/dev/watchdog\"").unwrap();
    assert_eq!(good.timeout, TIMEOUT);
    for bad in ["1s", "61s", "2500ms"] {
        let error = read(&format!("device = \"/dev/watchdog\"\ntimeout = \"{bad}\"")).unwrap_err();
        assert!(error.contains("between 2s and 60s"), "{error}");
    }
    assert!(read("device = \"watchdog\"").unwrap_err().contains("absolute path"));
}
