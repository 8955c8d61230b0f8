//! For `#[serde(default, with = "daemon::config::span_option")]` on an
//! `Option<Duration>`: a length of time that may be left out.

use super::Span;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// Writes the length of time, or nothing.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(
    value: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.map(Span).serialize(serializer)
}

/// Reads a length of time that may be absent.
///
/// # Errors
/// The accepted forms, in words.
pub fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<Span>::deserialize(deserializer)?.map(|span| span.0))
}
