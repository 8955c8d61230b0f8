//! The file with a repository's password: made once, closed to others, never told.

use daemon::durable;
use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes of randomness in a new password, twice what can ever be guessed.
const RANDOM_BYTES: usize = 32;

/// The longest password file that is read.
const FILE_MAX: u64 = 4096;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is not there.
    #[error(
        "the password file {} does not exist; copy it back from where you keep it, or, for a \
         new repository, make it with `understudy-agent backup init`", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("others may read the password file {} (mode {mode:04o}); run `chmod 600 {}`", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is nothing usable in it.
    #[error("the password file {} holds no password: one line of text, up to {FILE_MAX} bytes", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("the password file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be made.
    #[error(transparent)]
    Durable(#[from] durable::DurableError),
}

/// Reads the password: the first line, as `restic --password-file` does.
pub(crate) fn read(path: &Path) -> Result<String, PasswordError> {
    let failed = |source| PasswordError::File { path: path.into(), source };
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(PasswordError::Missing { path: path.into() });
        }
        Err(error) => return Err(failed(error)),
    };
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PasswordError::Open { path: path.into(), mode });
    }
    let text = if meta.len() > FILE_MAX {
        String::new()
    } else {
        fs::read_to_string(path).map_err(failed)?
    };
    let line = text.trim();
    if line.is_empty() || line.contains('\n') {
        return Err(PasswordError::Empty { path: path.into() });
    }
    Ok(line.into())
}

/// Makes the file where there is none; true when it did.
pub(crate) fn make(path: &Path) -> Result<bool, PasswordError> {
    let failed = |source| PasswordError::File { path: path.into(), source };
    if path.try_exists().map_err(failed)? {
        return Ok(false);
    }
    let mut random = [0_u8; RANDOM_BYTES];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(failed)?;
    let mut text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    durable::write_atomic(path, text.as_bytes(), 0o600)?;
    Ok(true)
}

/// Whether a password is of the form of those that are made here, which nobody
/// thinks up: 64 hexadecimal digits.
pub(crate) fn is_random(password: &str) -> bool {
    password.len() == 2 * RANDOM_BYTES
        && password.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_password_is_made_once_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/key");
        assert!(matches!(read(&path), Err(PasswordError::Missing { .. })));
        assert!(make(&path).unwrap());
        let password = read(&path).unwrap();
        assert_eq!(password.len(), 2 * RANDOM_BYTES);
        assert!(is_random(&password) && !is_random("correct horse battery staple"));
        assert!(!make(&path).unwrap());
        assert_eq!(read(&path).unwrap(), password);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let words = read(&path).unwrap_err().to_string();
        assert!(words.contains("chmod 600") && !words.contains(&password), "{words}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "\n", "a\nb\n"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path), Err(PasswordError::Empty { .. })), "{text:?}");
        }
    }
}
