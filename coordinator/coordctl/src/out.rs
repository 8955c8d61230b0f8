//! Where words go: data to stdout, talk to stderr, colour only to a terminal.
//!
//! A reader of stdout that goes away ends the program quietly; nobody
//! listening on stderr changes nothing.

use crate::end::Failure;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// What the two streams are, settled once at the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// `--json`: one document on stdout and nothing else there.
    pub(crate) json: bool,
    /// Data goes to a terminal.
    pub(crate) terminal: bool,
    /// Data may be coloured.
    pub(crate) colour: bool,
    /// Talk goes to a terminal.
    talk_terminal: bool,
}

impl Out {
    /// As this process was started.
    pub(crate) fn of_process(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        // https://no-color.org: any value but the empty one.
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = terminal && !json && !no_colour && !dumb;
        Self { json, terminal, colour, talk_terminal: io::stderr().is_terminal() && !dumb }
    }

    /// Text on stdout; a newline is added where it has none.
    pub(crate) fn data(self, text: &str) -> Result<(), Failure> {
        let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        let mut stdout = io::stdout().lock();
        write!(stdout, "{text}{end}")
            .and_then(|()| stdout.flush())
            .map_err(|error| not_written(&error))
    }

    /// Bytes on stdout, as another program wrote them.
    pub(crate) fn bytes(self, piece: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(piece).and_then(|()| stdout.flush()).map_err(|error| not_written(&error))
    }

    /// Bytes on stderr, as another program wrote them.
    pub(crate) fn talk_bytes(self, piece: &[u8]) {
        let mut stderr = io::stderr().lock();
        // Nobody listens: nothing to be done about it.
        let _ = stderr.write_all(piece).and_then(|()| stderr.flush());
    }

    /// One JSON document on stdout, its maps sorted by key.
    pub(crate) fn document(self, value: &impl Serialize) -> Result<(), Failure> {
        self.data(&document(value)?)
    }

    /// The document with `--json`, the text that `render` makes without it.
    pub(crate) fn either<T: Serialize>(
        self,
        value: &T,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json { self.document(value) } else { self.data(&render(value)) }
    }

    /// A line for people on stderr.
    pub(crate) fn talk(self, text: &str) {
        let mut stderr = io::stderr().lock();
        // Nobody listens: nothing to be done about it.
        let _ = writeln!(stderr, "{text}");
    }

    /// A line of progress: on stdout, or with `--json` on stderr. A reader that
    /// goes away does not stop the watching, because the exit code still counts.
    pub(crate) fn progress(self, text: &str) {
        self.passing("");
        if self.json {
            self.talk(text);
        } else {
            let _ = self.data(text);
        }
    }

    /// A line that the next one replaces, on a terminal only; empty takes it away.
    pub(crate) fn passing(self, text: &str) {
        if self.talk_terminal {
            let mut stderr = io::stderr().lock();
            // Carriage return, then "erase to the end of the line" (ECMA-48, EL).
            let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
        }
    }

    /// Clears the screen for the next drawing; apart from a terminal, a blank line.
    pub(crate) fn redraw(self, text: &str) -> Result<(), Failure> {
        if self.terminal {
            // Cursor home, draw, erase what is left below (ECMA-48, CUP, EL, ED).
            let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
            self.data(&format!("\x1b[H{lines}\x1b[J"))
        } else {
            self.data(&format!("{text}\n"))
        }
    }

    /// A failure's words on stderr.
    pub(crate) fn failure(self, failure: &Failure) {
        self.passing("");
        if !failure.message.is_empty() {
            self.talk(&format!("error: {}", failure.message));
        }
        if !failure.hint.is_empty() {
            self.talk(&format!("hint: {}", failure.hint));
        }
    }
}

fn not_written(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::pipe_closed();
    }
    Failure::failed(format!("cannot write to stdout: {error}"))
}

fn document(value: &impl Serialize) -> Result<String, Failure> {
    // Through a value first: the wire's maps have no order of their own.
    serde_json::to_value(value)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .map_err(|error| Failure::failed(format!("cannot write the answer as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn maps_come_sorted() {
        let map: HashMap<_, _> = ["c", "a", "b"].map(|key| (key.to_owned(), 1_u64)).into();
        let reading = proto::v1::Plan { phases_ms: map, ..Default::default() };
        let text = document(&reading).unwrap();
        let at = |key: &str| text.find(&format!("\"{key}\": 1")).unwrap();
        assert!(at("a") < at("b") && at("b") < at("c"), "{text}");
        assert!(text.contains("\"rto_ms\": null"), "{text}");
    }
}
