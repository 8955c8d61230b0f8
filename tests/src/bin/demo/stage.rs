//! Lines for the spectator, each with the time since the beginning.

use std::time::Instant;

/// Where the lines go: stdout, or stderr when stdout is for the result.
#[derive(Debug)]
pub(crate) struct Stage {
    began: Instant,
    talk_on_stderr: bool,
}

impl Stage {
    /// The clock starts now.
    pub(crate) fn new(talk_on_stderr: bool) -> Self {
        Self { began: Instant::now(), talk_on_stderr }
    }

    /// Says one line, or several with the time before the first.
    pub(crate) fn say(&self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        for (number, line) in what.lines().enumerate() {
            let margin = if number == 0 { format!("{at:6.2} s") } else { " ".repeat(8) };
            let line = format!("{margin}  {line}");
            if self.talk_on_stderr {
                eprintln!("{line}");
            } else {
                println!("{line}");
            }
        }
    }
}
