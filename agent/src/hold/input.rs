//! What the agent tells its holder, line by line, from stdin.
//!
//! Never blocks: reads only what is there. Bounded: a line longer than any
//! real one is garbled, and a garbled line ends the program (fail closed).

use rustix::io::Errno;
use std::{collections::VecDeque, io, os::fd::AsFd};

/// Longest line accepted, in bytes: a 64-bit number has 20 digits.
const LINE_MAX: usize = 64;

/// One line, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The newest deadline, milliseconds of `CLOCK_BOOTTIME`.
    Deadline(u64),
    /// There is no deadline.
    NoDeadline,
    /// Stop now.
    Stop,
    /// Not one of the above.
    Garbled,
}

/// The lines read and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Input {
    partial: Vec<u8>,
    told: VecDeque<Told>,
    ended: bool,
}

impl Input {
    /// Takes over stdin. Its flags stay as they are (the other end of a pipe
    /// may be shared), so it is read only when `poll` said that it can be.
    pub(super) fn from_stdin() -> io::Result<Self> {
        // Fails when stdin is closed, where poll would later wait for nothing.
        rustix::fs::fstat(io::stdin().as_fd())?;
        Ok(Self::default())
    }

    /// One read of what is there; call it only after `poll`.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 1024];
        match rustix::io::read(io::stdin(), &mut bytes) {
            Ok(0) => self.ended = true,
            Ok(length) => self.accept(&bytes[..length]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The oldest line not yet taken.
    pub(super) fn take(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// Whether the agent closed its end, and with it is gone.
    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    fn accept(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.partial);
                self.told.push_back(understand(&line));
            } else if self.partial.len() < LINE_MAX {
                self.partial.push(*byte);
            } else {
                self.told.push_back(Told::Garbled);
                return;
            }
        }
    }
}

fn understand(line: &[u8]) -> Told {
    match std::str::from_utf8(line).map(str::trim_end) {
        Ok("none") => Told::NoDeadline,
        Ok("stop") => Told::Stop,
        Ok(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_or(Told::Garbled, Told::Deadline)
        }
        Ok(_) | Err(_) => Told::Garbled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[&[u8]]) -> Vec<Told> {
        let mut input = Input::default();
        bytes.iter().for_each(|part| input.accept(part));
        input.told.into()
    }

    #[test]
    fn lines_are_understood_in_any_pieces() {
        assert_eq!(
            told(&[b"12", b"34\nno", b"ne\nstop\n56"]),
            [Told::Deadline(1234), Told::NoDeadline, Told::Stop]
        );
    }

    #[test]
    fn anything_else_is_garbled() {
        for bad in [&b"\n"[..], b"-1\n", b"1 2\n", b"\xff\n", b"99999999999999999999\n", b"STOP\n"]
        {
            assert_eq!(told(&[bad]), [Told::Garbled], "{bad:?}");
        }
        assert_eq!(told(&[&[b'1'; 65]]), [Told::Garbled]);
    }
}
