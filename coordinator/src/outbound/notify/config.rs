//! The `[[notify]]` tables of coordinator.toml, made into channels.

use super::{Channel, Channels, DEADLINE, http, log};
use ring::hmac;
use serde::Deserialize;
use std::{
    fmt, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Most channels: each is a receiver that a person set up.
const CHANNELS_MAX: usize = 64;

/// What a model name may have, here for a channel.
const NAME_MAX: usize = 63;

/// Shortest signing secret in bytes: 128 bits, where guessing ends.
const SECRET_MIN: usize = 16;

/// Longest file with a secret or a URL, in bytes.
const SECRET_FILE_MAX: u64 = 4096;

/// Connecting alone; the rest of the deadline is the receiver's.
const CONNECT: Duration = Duration::from_secs(5);

/// One `[[notify]]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NotifyConfig {
    /// A Slack incoming webhook, or what speaks like one.
    Slack {
        /// What routes call it.
        name: String,
        /// Its URL, which is itself a secret; or else `url_file`.
        url: Option<Secret>,
        /// A file that holds the URL alone.
        url_file: Option<PathBuf>,
    },
    /// JSON by POST, signed.
    Webhook {
        /// What routes call it.
        name: String,
        /// Its URL; or else `url_file`.
        url: Option<Secret>,
        /// A file that holds the URL alone.
        url_file: Option<PathBuf>,
        /// A file that holds the signing secret alone.
        secret_file: PathBuf,
    },
    /// One JSON object a line, appended to a file.
    Log {
        /// What routes call it.
        name: String,
        /// The file's absolute path.
        path: PathBuf,
    },
}

impl NotifyConfig {
    /// What routes call it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Slack { name, .. } | Self::Webhook { name, .. } | Self::Log { name, .. } => name,
        }
    }
}

/// A text that is never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// Why the channels could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A name that is no name.
    #[error(
        "[[notify]] name `{name}`: use 1 to 63 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Two of the same name.
    #[error("[[notify]] name `{name}` is used twice; rename one")]
    Twice {
        /// The name.
        name: String,
    },
    /// Far more than anyone has.
    #[error("{count} [[notify]] tables; at most {CHANNELS_MAX} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A log file's path that depends on where the program was started.
    #[error("[[notify]] `{name}`: path `{}` is not absolute; begin it with `/`", path.display())]
    Path {
        /// The channel.
        name: String,
        /// The path.
        path: PathBuf,
    },
    /// No URL, or two.
    #[error("[[notify]] `{name}` needs exactly one of `url` and `url_file`")]
    OneUrl {
        /// The channel.
        name: String,
    },
    /// A URL that cannot be used. It is not repeated here: it may be a secret.
    #[error("[[notify]] `{name}`: its URL {reason}")]
    Url {
        /// The channel.
        name: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A file with a secret that cannot be used.
    #[error("[[notify]] `{name}`")]
    Secret {
        /// The channel.
        name: String,
        /// What is wrong with it.
        source: SecretError,
    },
    /// TLS or the system's trusted roots.
    #[error(
        "the HTTP client for [[notify]] cannot be set up; are the system's certificates installed (package ca-certificates)?"
    )]
    Client {
        /// What the library said.
        source: reqwest::Error,
    },
}

/// Why a file with a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Every user of the machine may read it.
    #[error("every user may read {}; close it with `chmod o-rwx {}`", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// Empty, or not a secret.
    #[error("{} holds {length} bytes; {needed}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length in bytes, without the line's end.
        length: u64,
        /// What it should hold.
        needed: &'static str,
    },
}

/// Every table as a channel.
pub(super) fn set_up(config: &[NotifyConfig]) -> Result<Channels, SetupError> {
    if config.len() > CHANNELS_MAX {
        return Err(SetupError::TooMany { count: config.len() });
    }
    let mut channels = Channels::default();
    let mut client = None;
    for table in config {
        let name = checked_name(table.name())?;
        let channel = match table {
            NotifyConfig::Slack { url, url_file, .. } => {
                let receiver = endpoint(&name, url.as_ref(), url_file.as_deref(), &mut client)?;
                Channel::Slack(http::Slack { receiver })
            }
            NotifyConfig::Webhook { url, url_file, secret_file, .. } => {
                let receiver = endpoint(&name, url.as_ref(), url_file.as_deref(), &mut client)?;
                let key = signing_key(&name, secret_file)?;
                Channel::Webhook(http::Webhook { receiver, key })
            }
            NotifyConfig::Log { path, .. } if path.is_absolute() => {
                Channel::Log(log::Log::new(path.clone()))
            }
            NotifyConfig::Log { path, .. } => {
                return Err(SetupError::Path { name, path: path.clone() });
            }
        };
        if channels.channels.insert(name.clone(), channel).is_some() {
            return Err(SetupError::Twice { name });
        }
    }
    Ok(channels)
}

fn checked_name(name: &str) -> Result<String, SetupError> {
    let sound = name.bytes().enumerate().all(|(at, byte)| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || (at > 0 && matches!(byte, b'-' | b'_' | b'.'))
    });
    if sound && (1..=NAME_MAX).contains(&name.len()) {
        Ok(name.into())
    } else {
        Err(SetupError::Name { name: name.into() })
    }
}

fn endpoint(
    name: &str,
    url: Option<&Secret>,
    file: Option<&Path>,
    shared: &mut Option<reqwest::Client>,
) -> Result<http::Endpoint, SetupError> {
    let secret = |source| SetupError::Secret { name: name.into(), source };
    let text = match (url, file) {
        (Some(url), None) => url.clone(),
        (None, Some(file)) => read_text(file).map_err(secret)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(SetupError::OneUrl { name: name.into() });
        }
    };
    // One client for all, and none where only files are written.
    let client = match shared {
        Some(client) => client.clone(),
        None => shared.insert(new_client()?).clone(),
    };
    http::Endpoint::new(text.reveal(), client)
        .map_err(|reason| SetupError::Url { name: name.into(), reason })
}

fn signing_key(name: &str, file: &Path) -> Result<http::Key, SetupError> {
    let read = || {
        let secret = read_text(file)?;
        let length = secret.reveal().len();
        if length < SECRET_MIN {
            let needed = "a signing secret has at least 16 (`openssl rand -hex 32` makes one)";
            return Err(SecretError::Length { path: file.into(), length: length as u64, needed });
        }
        Ok(http::Key(hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes())))
    };
    read().map_err(|source| SetupError::Secret { name: name.into(), source })
}

/// A file's text without the line's end, if others may not read it.
fn read_text(path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read { path: path.into(), source };
    let meta = std::fs::metadata(path).map_err(failed)?;
    if meta.mode() & 0o007 != 0 {
        return Err(SecretError::Open { path: path.into() });
    }
    let length = |length, needed| SecretError::Length { path: path.into(), length, needed };
    if meta.len() > SECRET_FILE_MAX {
        return Err(length(meta.len(), "at most 4096 are read"));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    match text.trim() {
        "" => Err(length(0, "it should hold a URL or a secret")),
        text => Ok(Secret::new(text)),
    }
}

fn new_client() -> Result<reqwest::Client, SetupError> {
    // Without an installed provider the client would panic; a second
    // installation is refused and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(DEADLINE)
        .connect_timeout(CONNECT)
        // A redirect could carry a signed message, or Slack's secret URL, elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        // Notifications are rare: a kept connection would be dead by the next one.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("understudy-coordinator/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|source| SetupError::Client { source })
}
