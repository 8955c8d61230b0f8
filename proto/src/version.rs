//! The skew rule: same major number, minor numbers at most one apart.

use crate::v1;

/// Protocol major number: raised when an old program can no longer be understood.
pub const MAJOR: u32 = 1;
/// Protocol minor number: raised when something is added.
pub const MINOR: u32 = 1;

/// What this program speaks.
#[must_use]
pub fn own_version() -> v1::Version {
    v1::Version { major: MAJOR, minor: MINOR, program: env!("CARGO_PKG_VERSION").into() }
}

/// The other side cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the other side speaks protocol {major}.{minor} (program {program}), this one {}.{}; \
     they must have the same major number and minor numbers at most one apart: upgrade the older",
    MAJOR,
    MINOR
)]
pub struct SkewError {
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// Its program's version.
    pub program: String,
}

/// Applies the skew rule to a peer's version; an absent one is version 0.0.
///
/// # Errors
/// [`SkewError`] when the two cannot understand each other.
pub fn check_version(peer: Option<&v1::Version>) -> Result<(), SkewError> {
    let peer = peer.cloned().unwrap_or_default();
    if peer.major == MAJOR && peer.minor.abs_diff(MINOR) <= 1 {
        return Ok(());
    }
    Err(SkewError { major: peer.major, minor: peer.minor, program: peer.program })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_version_apart_is_understood() {
        let at = |major, minor| v1::Version { major, minor, program: "x".into() };
        assert!(check_version(Some(&at(MAJOR, MINOR))).is_ok());
        assert!(check_version(Some(&at(MAJOR, MINOR + 1))).is_ok());
        assert!(check_version(Some(&at(MAJOR, MINOR + 2))).is_err());
        assert!(check_version(Some(&at(MAJOR + 1, MINOR))).is_err());
        let words = check_version(None).unwrap_err().to_string();
        assert!(words.contains("0.0") && words.contains("upgrade"), "{words}");
    }
}
