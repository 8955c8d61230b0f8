//! A repository in a bucket of an S3 service, addressed by path, as every
//! service knows it.
//!
//! A listing that fails half way is an error and no listing. The credentials come
//! from a file or from the environment, and are in no word that is told.

use super::{
    remote::{Remote, RemoteError},
    web,
};
use crate::config::S3Target;
use bytes::Bytes;
use futures::TryStreamExt;
use model::{CopyKind, CopyName};
use opendal::{
    ErrorKind, HttpTransporter, OperationContext, Operator,
    layers::{ConcurrentLimitLayer, RetryLayer, TimeoutLayer},
    options::{ListOptions, ReadOptions},
    services::S3,
};
use opendal_http_transport_reqwest::ReqwestTransport;
use serde::Deserialize;
use std::{fmt, time::Duration};
use tokio::runtime::Runtime;

/// How long one request may take beside its data, and one piece of its data.
const LIMIT: Duration = Duration::from_secs(60);
/// Tries after the first, with growing waits: about 15 s in all.
const RETRIES: usize = 4;
/// Requests at a time.
const AT_A_TIME: usize = 4;
/// A lock of restic's that is older is stale.
const LOCK_STALE: jiff::SignedDuration = jiff::SignedDuration::from_mins(30);

pub(super) struct Bucket {
    runtime: Runtime,
    operator: Operator,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
}

/// The words of an error, without the request that it was about: headers are
/// credentials.
fn plain(error: &opendal::Error) -> String {
    let message = error.message();
    let more = std::error::Error::source(error).map_or(String::new(), |of| format!(": {of}"));
    let text = format!("{} ({message}{more})", error.kind());
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(500).collect()
}

fn failed(doing: &str, file: &impl fmt::Display, error: &opendal::Error) -> RemoteError {
    RemoteError(format!("cannot {doing} {file}: {}", plain(error)))
}

impl Bucket {
    pub(super) fn open(target: &S3Target) -> Result<Self, RemoteError> {
        let runtime = super::runtime()?;
        let credentials = match &target.credentials_file {
            Some(path) => {
                let text = web::secret("s3.credentials_file", path)?;
                // The reader's own words would show the line, and so the secret.
                toml::from_str(&text).map_err(|_| {
                    RemoteError(format!(
                        "s3.credentials_file {}: write two lines: access_key_id = \"...\" and \
                         secret_access_key = \"...\"",
                        path.display()
                    ))
                })?
            }
            None => Credentials {
                access_key_id: of_environment("AWS_ACCESS_KEY_ID")?,
                secret_access_key: of_environment("AWS_SECRET_ACCESS_KEY")?,
            },
        };
        let service = S3::default()
            .endpoint(&target.endpoint)
            .bucket(&target.bucket)
            .root(&format!("/{}", target.prefix.trim_matches('/')))
            .region(&target.region)
            .access_key_id(&credentials.access_key_id)
            .secret_access_key(&credentials.secret_access_key)
            // Nothing but what agent.toml says.
            .disable_config_load()
            .disable_ec2_metadata();
        let transport = ReqwestTransport::new(web::client(target.ca_file.as_deref())?);
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(transport));
        let operator = Operator::new(service)
            .map_err(|error| RemoteError(plain(&error)))?
            .with_context(context)
            .layer(TimeoutLayer::new().with_timeout(LIMIT).with_io_timeout(LIMIT))
            .layer(RetryLayer::new().with_max_times(RETRIES).with_jitter())
            .layer(ConcurrentLimitLayer::new(AT_A_TIME));
        Ok(Self { runtime, operator })
    }

    /// Every file below a directory: its name and what is known of it.
    fn below(&self, directory: &str) -> Result<Vec<opendal::Entry>, RemoteError> {
        let path = format!("{directory}/");
        let options = ListOptions { recursive: true, ..ListOptions::default() };
        let all = self.runtime.block_on(async {
            let lister = self.operator.lister_options(&path, options).await?;
            lister.try_collect::<Vec<_>>().await
        });
        let all = all.map_err(|error| failed("list", &path, &error))?;
        Ok(all.into_iter().filter(|entry| entry.metadata().is_file()).collect())
    }
}

fn of_environment(name: &str) -> Result<String, RemoteError> {
    std::env::var(name).map_err(|_| {
        RemoteError(format!("no credentials: write s3.credentials_file, or set {name}"))
    })
}

impl Remote for Bucket {
    fn list(&self, kind: CopyKind) -> Result<Vec<(String, u64)>, RemoteError> {
        if kind == CopyKind::Config {
            return match self.runtime.block_on(self.operator.stat("config")) {
                Ok(meta) => Ok(vec![(String::new(), meta.content_length())]),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(failed("look at", &"config", &error)),
            };
        }
        let entries = self.below(kind.directory())?;
        let of =
            |entry: &opendal::Entry| (entry.name().to_owned(), entry.metadata().content_length());
        Ok(entries.iter().map(of).collect())
    }

    fn read(
        &self,
        file: &CopyName,
        range: Option<(u32, u32)>,
    ) -> Result<Option<Bytes>, RemoteError> {
        let mut options = ReadOptions::default();
        if let Some((offset, length)) = range {
            let from = u64::from(offset);
            options.range = (from..from + u64::from(length)).into();
        }
        let path = file.path();
        match self.runtime.block_on(self.operator.read_options(&path, options)) {
            Ok(bytes) => Ok(Some(bytes.to_bytes())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, &error)),
        }
    }

    fn write(&self, file: &CopyName, content: &[Bytes]) -> Result<(), RemoteError> {
        let path = file.path();
        // One request: a bucket never shows half an object.
        let written = self.runtime.block_on(self.operator.write(&path, content.to_vec()));
        written.map(|_| ()).map_err(|error| failed("write", &path, &error))
    }

    fn remove(&self, file: &CopyName) -> Result<(), RemoteError> {
        let path = file.path();
        let removed = self.runtime.block_on(self.operator.delete(&path));
        removed.map_err(|error| failed("remove", &path, &error))
    }

    fn restic_lock(&self) -> Result<Option<String>, RemoteError> {
        let now = jiff::Timestamp::now();
        for entry in self.below("locks")? {
            let age = entry.metadata().last_modified().map(|at| now.duration_since(at.into()));
            if age.is_none_or(|age| age < LOCK_STALE) {
                return Ok(Some(entry.path().to_owned()));
            }
        }
        Ok(None)
    }

    fn hold(&self) -> Result<(), RemoteError> {
        Ok(())
    }
}
