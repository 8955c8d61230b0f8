//! Reading TOML files strictly: a fault always carries file, line, column,
//! field and what to do.
//!
//! Checks that need more than one value (a name used twice, a bound) belong to
//! the program: it collects them in [`Faults`], with positions from
//! [`Source`]. Lengths of time are in [`span`].

mod fault;
mod locate;
pub mod span;
pub mod span_option;

pub use fault::{Fault, Faults, Source};
pub use serde_spanned::Spanned;
pub use span::{Span, SpanError};

use serde::de::DeserializeOwned;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Largest file read, in bytes: a hundred times the longest sensible one, so
/// that a wrong path (a disk image, a log) fails at once.
const FILE_MAX: u64 = 4 << 20;

/// Why a configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: {}", path.display(), read_fault(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is far longer than any configuration.
    #[error("{} has {length} bytes, more than the {FILE_MAX} allowed; is it the right file?", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// The text does not say what it should. Each fault comes with its line and a caret.
    #[error("{0:#}")]
    Invalid(Faults),
}

impl From<Faults> for ConfigError {
    fn from(faults: Faults) -> Self {
        Self::Invalid(faults)
    }
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault.into())
    }
}

fn read_fault(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such file; name another with --config, or create it".into()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; run as the user that the service runs as, or as root".into()
        }
        io::ErrorKind::IsADirectory => "it is a directory, not a file".into(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        _ => error.to_string(),
    }
}

/// Reads one file into `T`.
///
/// # Errors
/// [`ConfigError`]: the file cannot be read, or is refused with its faults.
pub fn load<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T, ConfigError> {
    load_with_source(path).map(|(value, _)| value)
}

/// Like [`load`], and keeps the text, so that later checks can point into it.
///
/// # Errors
/// As [`load`].
pub fn load_with_source<T: DeserializeOwned>(
    path: impl AsRef<Path>,
) -> Result<(T, Source), ConfigError> {
    let source = read(path.as_ref())?;
    let value = parse_source(&source)?;
    Ok((value, source))
}

/// Reads a text into `T`; `file_name` is what errors call it.
///
/// # Errors
/// [`ConfigError::Invalid`] with every fault found.
pub fn parse<T: DeserializeOwned>(file_name: &str, text: &str) -> Result<T, ConfigError> {
    parse_source(&Source::new(file_name, text))
}

/// Like [`parse`] for a text that is already a [`Source`].
///
/// # Errors
/// As [`parse`].
pub fn parse_source<T: DeserializeOwned>(source: &Source) -> Result<T, ConfigError> {
    toml::from_str(source.text()).map_err(|error| locate::faults(source, &error).into())
}

/// Reads a file as text, within the limit of length.
///
/// # Errors
/// [`ConfigError::Read`] and [`ConfigError::TooLong`].
pub fn read(path: &Path) -> Result<Source, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.into(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > FILE_MAX {
        return Err(ConfigError::TooLong { path: path.into(), length });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok(Source::new(path.display().to_string(), text))
}

#[cfg(test)]
mod tests;
