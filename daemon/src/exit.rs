//! How a program ends, as a number: the same in every program, and stable.

use std::process::ExitCode;

/// The product's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: what was asked is done.
    Done,
    /// 1: it was tried and failed.
    Failed,
    /// 2: the command line or a configuration file is wrong.
    Usage,
    /// 3: a safety rule refused it.
    Refused,
    /// 4: no leader, or nobody answers.
    Unreachable,
    /// 5: it ended held for a human.
    Held,
    /// 74 (`EX_IOERR` of sysexits.h): a durable write failed. What is on disk
    /// may be older than what was promised, so the process ends rather than
    /// act on it; it reads the disk again when it is started again.
    NotDurable,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::Held => 5,
            Self::NotDurable => 74,
        }
    }

    /// Ends the process at once: for a task that must not return, such as a
    /// failed durable write. A main returns its [`Exit`] instead.
    pub fn now(self) -> ! {
        std::process::exit(i32::from(self.code()))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl std::process::Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_documented_ones() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Refused,
            Exit::Unreachable,
            Exit::Held,
            Exit::NotDurable,
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4, 5, 74]);
    }
}
