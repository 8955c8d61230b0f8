//! Wire types to the model's and back: parse once, here; refuse in words.

mod backup;
mod command;
mod copies;
mod heartbeat;
mod lease;
mod observation;
mod order;
mod promise;
mod task;

pub use copies::copy_kind;
use model::NameError;

/// Why a message could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("{message}: the field `{field}` is missing")]
    Missing {
        /// The message's name.
        message: &'static str,
        /// The field's.
        field: &'static str,
    },
    /// An enum value or a oneof arm that this program does not know.
    #[error(
        "{message}: `{field}` holds a value that this program does not know ({value}); upgrade it"
    )]
    Unknown {
        /// The message's name.
        message: &'static str,
        /// The field's.
        field: &'static str,
        /// The number on the wire.
        value: i32,
    },
    /// A name that is none.
    #[error("{message}: {source}")]
    Name {
        /// The message's name.
        message: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// More entries than any real host has.
    #[error("{message}: `{field}` has {count} entries; at most {most} are accepted")]
    TooMany {
        /// The message's name.
        message: &'static str,
        /// The field's.
        field: &'static str,
        /// How many came.
        count: usize,
        /// The limit.
        most: usize,
    },
    /// A name of no file of a repository.
    #[error(transparent)]
    CopyName(model::CopyNameError),
}

/// A list on the wire holds at most this many entries: ten times what the
/// largest host in the field runs.
const LIST_MAX: usize = 1000;
/// A text for people is cut to this many bytes when it enters.
const TEXT_MAX: usize = 4096;

/// A value that this program does not know.
const fn unknown(message: &'static str, field: &'static str, value: i32) -> WireError {
    WireError::Unknown { message, field, value }
}

fn missing(message: &'static str, field: &'static str) -> WireError {
    WireError::Missing { message, field }
}

fn named<T>(message: &'static str, made: Result<T, NameError>) -> Result<T, WireError> {
    made.map_err(|source| WireError::Name { message, source })
}

fn bounded<T>(
    message: &'static str,
    field: &'static str,
    list: Vec<T>,
) -> Result<Vec<T>, WireError> {
    match list.len() {
        count if count > LIST_MAX => {
            Err(WireError::TooMany { message, field, count, most: LIST_MAX })
        }
        _ => Ok(list),
    }
}

fn text(mut given: String) -> String {
    if given.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|at| given.is_char_boundary(*at)).unwrap_or(0);
        given.truncate(end);
    }
    given
}
