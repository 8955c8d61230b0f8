//! Names and numbers: each its own type, checked once where it enters.

use alloc::string::String;
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// Longest name accepted, in bytes: what a DNS label holds, so that a name
/// can become one.
const NAME_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a {kind} name is empty; use 1 to 63 of a-z, 0-9, '-', '_' and '.'")]
    Empty {
        /// What the name is of.
        kind: &'static str,
    },
    /// More than 63 bytes.
    #[error("the {kind} name `{given}` has {length} bytes; at most 63 are allowed")]
    TooLong {
        /// What the name is of.
        kind: &'static str,
        /// The text as it came.
        given: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A character outside the set, or a first character that is not a letter or digit.
    #[error(
        "the {kind} name `{given}` may not hold {found:?} there; \
         use a-z, 0-9, '-', '_' and '.', beginning with a letter or digit"
    )]
    Character {
        /// What the name is of.
        kind: &'static str,
        /// The text as it came.
        given: String,
        /// The first character that is not allowed where it stands.
        found: char,
    },
}

fn check(kind: &'static str, given: &str) -> Result<(), NameError> {
    if given.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if given.len() > NAME_MAX {
        return Err(NameError::TooLong { kind, given: given.into(), length: given.len() });
    }
    let allowed = |(at, c): &(usize, char)| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || (*at > 0 && matches!(c, '-' | '_' | '.'))
    };
    match given.char_indices().find(|pair| !allowed(pair)) {
        Some((_, found)) => Err(NameError::Character { kind, given: given.into(), found }),
        None => Ok(()),
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 1 to 63 bytes of `a-z`, `0-9`, `-`, `_` and `.`, beginning with a letter or digit.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name, checked.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check($kind, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )*};
}

names! {
    /// A set of services protected as one unit.
    GroupId = "group";
    /// One of the places where a group can be active.
    SiteId = "site";
    /// A machine with one agent.
    HostId = "host";
    /// A service as its host's agent.toml and its group's file name it.
    ServiceName = "service";
    /// A probe as its host's agent.toml names it.
    ProbeName = "probe";
    /// A source of backups as its host's agent.toml names it.
    SourceName = "backup";
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number that follows this one.
            ///
            /// Saturates at the top of the range, which no installation reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

numbers! {
    /// A coordinators' Raft term: the number of a leadership. Only grows.
    Term;
    /// The number of an activation, the fencing token. Only grows; 0 means "never active".
    Epoch;
    /// An incident, numbered by the journal from 1.
    IncidentId;
    /// A plan: an instance of a runbook in the journal, numbered from 1.
    PlanId;
    /// A step's place in its plan, from 0.
    StepId;
    /// A try of a step, from 1.
    AttemptId;
    /// A notification in the outbox, numbered by the journal from 1.
    NotificationId;
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_name_is_checked_where_it_enters() {
        assert!(GroupId::new("fx-1.main_a").is_ok());
        for bad in ["", "-x", "A", "a b", "../etc", "ä", &"a".repeat(64)] {
            assert!(GroupId::new(bad).is_err(), "{bad:?} was accepted");
        }
        let words = GroupId::new("a/b").unwrap_err().to_string();
        assert!(words.contains("group") && words.contains("'/'"), "{words}");
    }
}
