//! CURVE keys from their files: 40 characters of Z85 each.

use crate::probe::CurveConfig;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The alphabet of ZeroMQ's RFC 32, in the order of its values.
const ALPHABET: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CurveError {
    #[error("cannot read the CURVE key {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} does not hold a CURVE key: 40 characters of Z85 and nothing else", path.display())]
    NotAKey { path: PathBuf },
    #[error("every user can read the secret CURVE key {}; chmod 600 it", path.display())]
    Exposed { path: PathBuf },
}

/// A feed's keys.
pub(super) struct Keys {
    pub(super) server: [u8; 32],
    pub(super) public: [u8; 32],
    pub(super) secret: [u8; 32],
}

impl Keys {
    pub(super) fn read(config: &CurveConfig) -> Result<Self, CurveError> {
        let path = &config.secret_key_file;
        let failed = |source| CurveError::Read { path: path.clone(), source };
        if path.metadata().map_err(failed)?.permissions().mode() & 0o004 != 0 {
            return Err(CurveError::Exposed { path: path.clone() });
        }
        Ok(Self {
            server: key(&config.server_key_file)?,
            public: key(&config.public_key_file)?,
            secret: key(path)?,
        })
    }
}

fn key(path: &Path) -> Result<[u8; 32], CurveError> {
    let text = fs::read(path).map_err(|source| CurveError::Read { path: path.into(), source })?;
    decode(text.trim_ascii()).ok_or_else(|| CurveError::NotAKey { path: path.into() })
}

/// Every five characters are four bytes, most significant first.
fn decode(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != 40 {
        return None;
    }
    let mut key = [0; 32];
    for (five, four) in text.chunks_exact(5).zip(key.chunks_exact_mut(4)) {
        let mut value: u32 = 0;
        for character in five {
            let digit = ALPHABET.iter().position(|known| known == character)?;
            value = value.checked_mul(85)?.checked_add(u32::try_from(digit).ok()?)?;
        }
        four.copy_from_slice(&value.to_be_bytes());
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z85_is_read_as_libzmq_writes_it() {
        let pair = zmq::CurveKeyPair::new().unwrap();
        let text = zmq::z85_encode(&pair.public_key).unwrap();
        assert_eq!(decode(text.as_bytes()), Some(pair.public_key));
        assert_eq!(decode(&text.as_bytes()[1..]), None);
        assert_eq!(decode(&[b'#'; 40]), None, "a value above 32 bits");
        assert_eq!(decode(&[b'"'; 40]), None, "a character that is not of the alphabet");
    }

    #[test]
    fn a_key_that_cannot_be_used_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let good = "0".repeat(40) + "\n";
        let config = CurveConfig {
            server_key_file: file("s", &good, 0o644),
            public_key_file: file("p", &good, 0o644),
            secret_key_file: file("k", &good, 0o600),
        };
        assert!(Keys::read(&config).is_ok());
        let said = |config: &CurveConfig| Keys::read(config).err().unwrap().to_string();
        let bad = CurveConfig { server_key_file: file("b", "x", 0o644), ..config.clone() };
        assert!(said(&bad).contains("40 characters of Z85"));
        let open = CurveConfig { secret_key_file: file("o", &good, 0o644), ..config.clone() };
        assert!(said(&open).contains("chmod 600"));
        let gone = CurveConfig { public_key_file: "/no/key".into(), ..config };
        assert!(said(&gone).contains("/no/key"));
    }
}
