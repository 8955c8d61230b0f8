//! Asks a person before something is moved.
//!
//! Only a plain yes goes on. Without a terminal nothing is asked and nothing
//! is done: a script says `--yes`.

use crate::end::Failure;
use std::io::{self, BufRead, IsTerminal, Write};

/// What the operator said beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// `--yes`.
    Given,
    /// There is a person to ask.
    Ask,
}

/// Whether there is consent, or a person who can give it.
pub(crate) fn consent(yes: bool) -> Result<Consent, Failure> {
    consent_to("this moves a group", yes)
}

/// The same for something else: `what` says what is about to happen.
pub(crate) fn consent_to(what: &str, yes: bool) -> Result<Consent, Failure> {
    if yes {
        return Ok(Consent::Given);
    }
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        return Ok(Consent::Ask);
    }
    Err(Failure::usage(format!("{what}, and there is no terminal to ask for confirmation"))
        .hint("add --yes to go on without asking, or --dry-run to see what would be done"))
}

/// Asks on the terminal, without blocking what runs beside it.
pub(crate) async fn ask(question: String) -> Result<bool, Failure> {
    tokio::task::spawn_blocking(move || answer(&question, io::stdin().lock(), io::stderr()))
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))
}

fn answer(question: &str, input: impl BufRead, mut talk: impl Write) -> io::Result<bool> {
    write!(talk, "{question} [y/N] ")?;
    talk.flush()?;
    let mut line = String::new();
    // Nobody types more than this; a terminal that sends a flood is no yes.
    io::Read::take(input, 64).read_line(&mut line)?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_one() {
        let said = |text: &str| answer("Go?", text.as_bytes(), io::sink()).unwrap();
        assert!(said("y\n") && said("YES\n") && said(" yes"));
        for no in ["", "\n", "n\n", "yes please\n", "ok\n", "no\ny\n"] {
            assert!(!said(no), "{no:?}");
        }
    }
}
