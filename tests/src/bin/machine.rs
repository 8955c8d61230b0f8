//! The first process of a machine of the lab: reaps what others leave behind,
//! as an init does, and ends when its standard input is closed, so that a
//! machine never outlives whoever made it, however that one ended. With it the
//! kernel ends every process of the machine at once.

use nix::{errno::Errno, sys::wait::wait};
use std::{
    io::{self, Read},
    process, thread,
    time::Duration,
};

/// How often children are looked for while there are none.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn main() {
    thread::spawn(|| {
        // Its end is the message; nothing is ever written to it.
        let _ = io::stdin().read(&mut [0]);
        process::exit(0);
    });
    loop {
        match wait() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}
