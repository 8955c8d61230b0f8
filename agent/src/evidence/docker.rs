//! What Docker knows: every container, its inspect without the values of its
//! environment, and its log.

use super::archive::Source;
use bollard::{
    Docker,
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder, LogsOptionsBuilder},
};
use futures::{Stream, StreamExt};
use serde_json::Value;
use std::{
    collections::VecDeque,
    io::{self, Read},
    path::Path,
    pin::Pin,
    time::Duration,
};
use tokio::{runtime::Runtime, time::timeout};

/// How long one question, or one piece of a log, may take.
const LIMIT: Duration = Duration::from_secs(20);
/// The client's own limit in seconds, for streams.
const CLIENT_LIMIT_S: u64 = 3600;
/// What stands in the place of a value that may be a secret.
const REDACTED: &str = "[redacted]";

/// A connection, with a runtime of its own.
pub(super) struct Engine {
    client: Docker,
    runtime: Runtime,
}

/// A container.
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
}

impl Engine {
    /// Connects; `None` where there is no socket.
    pub(super) fn connect(socket: &Path) -> Option<Result<Self, String>> {
        if !socket.exists() {
            return None;
        }
        let made = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let path = socket.to_string_lossy();
            let client = runtime.block_on(async {
                let client =
                    Docker::connect_with_unix(&path, CLIENT_LIMIT_S, bollard::API_DEFAULT_VERSION);
                let client = client.map_err(|error| error.to_string())?;
                within(client.negotiate_version()).await
            })?;
            Ok(Self { client, runtime })
        };
        Some(made())
    }

    pub(super) fn containers(&self) -> Result<Vec<Container>, String> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let list = self.runtime.block_on(within(self.client.list_containers(Some(options))))?;
        let container = |of: bollard::models::ContainerSummary| {
            let id = of.id?;
            let name = of.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
            Some(Container { id, name: name.trim_start_matches('/').to_owned() })
        };
        Ok(list.into_iter().filter_map(container).collect())
    }

    /// As JSON; `shown` keeps the values of its environment.
    pub(super) fn inspect(&self, id: &str, shown: bool) -> Result<Vec<u8>, String> {
        let asked = self.client.inspect_container(id, None::<InspectContainerOptions>);
        let found = self.runtime.block_on(within(asked))?;
        let mut value = serde_json::to_value(found).map_err(|error| error.to_string())?;
        if !shown {
            redact(&mut value);
        }
        serde_json::to_vec_pretty(&value).map_err(|error| error.to_string())
    }

    /// Both streams of its log, with times.
    pub(super) fn log(&self, id: &str) -> Log<'_> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).build();
        let pieces = self.client.logs(id, Some(options)).map(|piece| match piece {
            Ok(piece) => Ok(piece.into_bytes().to_vec()),
            Err(error) => Err(error.to_string()),
        });
        Log { runtime: &self.runtime, pieces: Box::pin(pieces), ready: VecDeque::new() }
    }
}

async fn within<T>(
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, String> {
    match timeout(LIMIT, call).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("Docker did not answer within {} s", LIMIT.as_secs())),
    }
}

/// Every `Env` in a document: `KEY=value` keeps its key.
fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match field {
                    Value::Array(list) if key == "Env" => list.iter_mut().for_each(hide),
                    other => redact(other),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn hide(entry: &mut Value) {
    let key = entry.as_str().and_then(|text| text.split_once('=')).map(|(key, _)| key.to_owned());
    *entry = Value::String(key.map_or(REDACTED.to_owned(), |key| format!("{key}={REDACTED}")));
}

/// A container's log as it comes.
pub(super) struct Log<'a> {
    runtime: &'a Runtime,
    pieces: Pin<Box<dyn Stream<Item = Result<Vec<u8>, String>> + 'a>>,
    ready: VecDeque<u8>,
}

impl Read for Log<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            let next = self.runtime.block_on(async { timeout(LIMIT, self.pieces.next()).await });
            match next {
                Ok(None) => break,
                Ok(Some(Ok(piece))) => self.ready.extend(piece),
                Ok(Some(Err(error))) => return Err(io::Error::other(error)),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        self.ready.read(buffer)
    }
}

impl Source for Log<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_environments_are_hidden_wherever_they_stand() {
        let mut value = serde_json::json!({
            "Id": "1",
            "Config": { "Env": ["TOKEN=s3cret=", "odd"], "Cmd": ["run"] },
            "More": [{ "Env": ["A=s3cret"] }],
        });
        redact(&mut value);
        let text = value.to_string();
        assert!(!text.contains("s3cret") && !text.contains("odd"), "{text}");
        assert_eq!(value["Config"]["Env"][0], "TOKEN=[redacted]");
        assert_eq!(value["Config"]["Cmd"][0], "run");
    }
}
