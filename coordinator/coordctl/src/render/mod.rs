//! Answers as text for people: tables and sentences.
//!
//! Pure: an answer and a [`Paper`] in, text out. Every meaning is a word;
//! colour only repeats it. A word that is not known here is shown as it came.

pub(crate) mod apply;
pub(crate) mod incident;
pub(crate) mod list;
pub(crate) mod plan;
pub(crate) mod rpo;
pub(crate) mod status;
pub(crate) mod words;

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

/// What is written on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paper {
    /// Has a width to keep to.
    pub(crate) terminal: bool,
    /// Takes colour.
    pub(crate) colour: bool,
}

impl From<crate::out::Out> for Paper {
    fn from(out: crate::out::Out) -> Self {
        Self { terminal: out.terminal, colour: out.colour }
    }
}

impl Paper {
    /// An empty table with these headings.
    pub(crate) fn table(self, headings: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.force_no_tty();
        }
        if self.colour {
            table.enforce_styling();
        }
        table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
        table
    }

    /// A cell with one of the API's words for a state, coloured by what it means.
    pub(crate) fn state(self, word: &str) -> Cell {
        let cell = Cell::new(word);
        match tone(word).filter(|_| self.colour) {
            Some(colour) => cell.fg(colour),
            None => cell,
        }
    }
}

/// Green, yellow or red, or none for a word without a tone.
fn tone(word: &str) -> Option<Color> {
    match word {
        "active" | "alive" | "ok" | "yes" | "running" | "done" | "completed" | "accepted"
        | "valid" => Some(Color::Green),
        "suspect" | "warn" | "moving" | "starting" | "waiting" | "sending" | "unknown" | "held"
        | "never-heard" | "high" => Some(Color::Yellow),
        "lost" | "critical" | "failed" | "unhealthy" | "abandoned" | "revoked" | "expired"
        | "no" => Some(Color::Red),
        _ => None,
    }
}

/// The table as text, without trailing blanks and without the left margin.
pub(crate) fn finish(table: &Table) -> String {
    let text = table.trim_fmt();
    text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Parts that are not empty, a blank line between them.
pub(crate) fn paragraphs(parts: &[String]) -> String {
    let parts: Vec<&str> =
        parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

/// `-` for an empty text.
pub(crate) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
pub(crate) const PLAIN: Paper = Paper { terminal: false, colour: false };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_plain_without_a_terminal() {
        let mut table = PLAIN.table(&["host", "state"]);
        table.add_row(vec![Cell::new("p1"), PLAIN.state("alive")]);
        assert_eq!(finish(&table), "HOST  STATE\np1    alive");
    }

    #[test]
    fn colour_only_repeats_the_word() {
        let paper = Paper { terminal: false, colour: true };
        let mut table = paper.table(&["state"]);
        table.add_row(vec![paper.state("lost")]);
        table.add_row(vec![paper.state("a-word-from-the-future")]);
        let text = finish(&table);
        assert!(text.contains("lost") && text.contains("a-word-from-the-future"), "{text}");
    }
}
