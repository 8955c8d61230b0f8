//! Setting a watchdog's time: the one system call of the agent that has no safe
//! wrapper (`WDIOC_SETTIMEOUT` of linux/watchdog.h).
#![expect(unsafe_code, reason = "an ioctl that no crate wraps; see each block")]

use rustix::ioctl::{Updater, ioctl, opcode};
use std::{ffi::c_int, fs::File, io, time::Duration};

/// `WDIOC_SETTIMEOUT`: the kernel takes seconds and puts back those that it set.
const SET: rustix::ioctl::Opcode = opcode::read_write::<c_int>(b'W', 6);

/// Sets the time; gives the one that the device took.
///
/// # Errors
/// It is no watchdog, or has a fixed time.
pub(super) fn set(device: &File, wanted: Duration) -> io::Result<Duration> {
    let mut seconds = c_int::try_from(wanted.as_secs()).unwrap_or(c_int::MAX);
    // SAFETY: for this number the kernel reads and writes one int, which lives
    // until the call is over; a file that is no watchdog answers ENOTTY.
    unsafe {
        ioctl(device, Updater::<SET, c_int>::new(&mut seconds))?;
    }
    Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
}
