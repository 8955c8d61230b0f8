//! Errors in words: finds ours beneath the layers that tonic, hyper and the
//! standard library put around them.

use crate::{client::ConnectError, refusal::chain};
use std::error::Error as StdError;
use tonic::Status;

/// Our own error of a failed dial, however deep.
#[must_use]
pub fn find_connect_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a ConnectError> {
    chain(error).find_map(|link| link.downcast_ref::<ConnectError>())
}

/// An error with its causes in one line. A failed dial is told without the
/// layers around it; a cause that its effect has told already is left out.
#[must_use]
pub fn explain(error: &(dyn StdError + 'static)) -> String {
    let start = find_connect_error(error).map_or(error, |found| found);
    let mut words = String::new();
    for link in chain(start) {
        let text = link.to_string();
        if words.is_empty() {
            words = text;
        } else if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
    }
    words
}

/// A call's status in words: the failed dial beneath it, or else its message.
#[must_use]
pub fn explain_status(status: &Status) -> String {
    match StdError::source(status) {
        Some(source) if find_connect_error(source).is_some() => explain(source),
        Some(source) if status.message().is_empty() => explain(source),
        Some(source) => {
            let cause = explain(source);
            let message = status.message();
            if cause.contains(message) { cause } else { format!("{message}: {cause}") }
        }
        None => status.message().to_owned(),
    }
}
