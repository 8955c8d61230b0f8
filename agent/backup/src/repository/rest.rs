//! A repository behind restic's REST protocol: a server of it, or the rclone
//! program, which speaks it over its stdin and stdout and so ends when we do,
//! however we do.
//!
//! A listing that is not understood whole is an error and no listing.

use super::{
    remote::{Remote, RemoteError},
    web,
};
use crate::config::{RcloneTarget, RestTarget};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http2::{self, SendRequest},
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderValue, RANGE},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::{CopyKind, CopyName};
use serde::Deserialize;
use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStderr, Command},
    runtime::Runtime,
    time::timeout,
};

/// Lists with sizes.
const V2: &str = "application/vnd.x.restic.rest.v2";
/// How long a call may take beside its data, and how slow its data may come.
const LIMIT: Duration = Duration::from_secs(60);
const LEAST_RATE: u64 = 64 * 1024;
/// The largest that is read at once: no pack is larger.
const FILE_MAX: u64 = 512 << 20;
/// What is kept of rclone's words.
const SAID_MAX: usize = 400;

enum Wire {
    /// A server.
    Http { client: reqwest::Client, base: String, authorization: Option<HeaderValue> },
    /// rclone, a child of this process.
    Rclone { send: SendRequest<Full<Bytes>>, said: Arc<Mutex<String>>, _child: Child },
}

pub(super) struct Rest {
    runtime: Runtime,
    wire: Wire,
}

/// One entry of a listing.
#[derive(Deserialize)]
struct Listed {
    name: String,
    size: u64,
}

type Answer = (StatusCode, Bytes);

impl Rest {
    /// A server.
    pub(super) fn server(target: &RestTarget) -> Result<Self, RemoteError> {
        let authorization = match (&target.user, &target.user_password_file) {
            (Some(user), Some(file)) => {
                use base64::Engine;
                let password = web::secret("rest.user_password_file", file)?;
                let both = format!("{user}:{}", password.trim());
                let text = base64::engine::general_purpose::STANDARD.encode(both);
                let value = HeaderValue::try_from(format!("Basic {text}"));
                let mut value = value.map_err(|_| RemoteError("rest.user: unusable".into()))?;
                value.set_sensitive(true);
                Some(value)
            }
            _ => None,
        };
        let base = target.url.trim_end_matches('/').to_owned();
        let client = web::client(target.ca_file.as_deref())?;
        Ok(Self { runtime: super::runtime()?, wire: Wire::Http { client, base, authorization } })
    }

    /// The rclone program.
    pub(super) fn rclone(target: &RcloneTarget) -> Result<Self, RemoteError> {
        let runtime = super::runtime()?;
        let mut command = Command::new(&target.program);
        command.args(["serve", "restic", "--stdio"]);
        if let Some(config) = &target.config {
            command.arg("--config").arg(config);
        }
        command.arg(&target.remote);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let program = target.program.display();
        let wire = runtime.block_on(async {
            let mut child = command.spawn().map_err(|error| {
                RemoteError(format!("{program}: {error}; install rclone, or correct program"))
            })?;
            let (Some(input), Some(output), Some(talk)) =
                (child.stdin.take(), child.stdout.take(), child.stderr.take())
            else {
                return Err(RemoteError("rclone has no pipes".into()));
            };
            let said = Arc::new(Mutex::new(String::new()));
            tokio::spawn(listen(talk, Arc::clone(&said)));
            let io = TokioIo::new(tokio::io::join(output, input));
            let begun = timeout(LIMIT, http2::handshake(TokioExecutor::new(), io)).await;
            let (send, connection) = match begun {
                Ok(Ok(both)) => both,
                Ok(Err(error)) => return Err(with_words(&said, &error.to_string())),
                Err(_) => return Err(with_words(&said, "rclone does not answer")),
            };
            tokio::spawn(connection);
            Ok(Wire::Rclone { send, said, _child: child })
        })?;
        Ok(Self { runtime, wire })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        range: Option<(u32, u32)>,
        body: Bytes,
    ) -> Result<Answer, String> {
        let range = range.map(|(offset, length)| {
            let (from, length) = (u64::from(offset), u64::from(length));
            format!("bytes={from}-{}", from + length.saturating_sub(1))
        });
        match &self.wire {
            Wire::Http { client, base, authorization } => {
                let mut request = client.request(method, format!("{base}/{path}"));
                request = request.header(ACCEPT, V2).body(body);
                if let Some(range) = range {
                    request = request.header(RANGE, range);
                }
                if let Some(value) = authorization {
                    request = request.header(AUTHORIZATION, value.clone());
                }
                let answer = request.send().await.map_err(|error| certs::explain(&error))?;
                let status = answer.status();
                Ok((status, answer.bytes().await.map_err(|error| certs::explain(&error))?))
            }
            Wire::Rclone { send, said, .. } => {
                let lost = |error: &dyn std::fmt::Display| with_words(said, &error.to_string()).0;
                let mut request = Request::builder()
                    .method(method)
                    .uri(format!("http://rclone/{path}"))
                    .header(ACCEPT, V2)
                    .header(CONTENT_LENGTH, body.len());
                if let Some(range) = range {
                    request = request.header(RANGE, range);
                }
                let request = request.body(Full::new(body)).map_err(|error| lost(&error))?;
                let answer =
                    send.clone().send_request(request).await.map_err(|error| lost(&error))?;
                let status = answer.status();
                let all = answer.into_body().collect().await.map_err(|error| lost(&error))?;
                Ok((status, all.to_bytes()))
            }
        }
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        range: Option<(u32, u32)>,
        body: Bytes,
    ) -> Result<Answer, RemoteError> {
        let doing = format!("{method} {path}");
        let bytes = match (&method, range) {
            (&Method::GET, None) => FILE_MAX,
            (_, Some((_, length))) => length.into(),
            (_, None) => body.len() as u64,
        };
        let limit = LIMIT + Duration::from_secs(bytes / LEAST_RATE);
        // Within the runtime, whose clock it is.
        let asked = async { timeout(limit, self.call(method, path, range, body)).await };
        match self.runtime.block_on(asked) {
            Ok(answer) => answer.map_err(|why| RemoteError(format!("{doing}: {why}"))),
            Err(_) => Err(RemoteError(format!("{doing}: no answer within {limit:?}"))),
        }
    }

    /// The entries of a directory; none where there is no such directory.
    fn entries(&self, directory: &str) -> Result<Vec<Listed>, RemoteError> {
        let path = format!("{directory}/");
        let (status, body) = self.ask(Method::GET, &path, None, Bytes::new())?;
        if status == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        self.fine(&path, status, &body)?;
        serde_json::from_slice(&body)
            .map_err(|error| RemoteError(format!("GET {path}: no listing with sizes: {error}")))
    }

    fn fine(&self, path: &str, status: StatusCode, body: &[u8]) -> Result<(), RemoteError> {
        if status.is_success() {
            return Ok(());
        }
        let said: String = String::from_utf8_lossy(body).trim().chars().take(SAID_MAX).collect();
        let words = format!("{path}: {status} {said}");
        match &self.wire {
            Wire::Http { .. } => Err(RemoteError(words)),
            Wire::Rclone { said, .. } => Err(with_words(said, &words)),
        }
    }
}

/// Keeps the newest of what rclone says.
async fn listen(mut talk: ChildStderr, said: Arc<Mutex<String>>) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = talk.read(&mut buffer).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let long = said.chars().count().saturating_sub(SAID_MAX);
        *said = said.chars().skip(long).collect();
    }
}

fn with_words(said: &Mutex<String>, words: &str) -> RemoteError {
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    RemoteError(if said.is_empty() { words.into() } else { format!("{words} (rclone: {said})") })
}

impl Remote for Rest {
    fn list(&self, kind: CopyKind) -> Result<Vec<(String, u64)>, RemoteError> {
        if kind == CopyKind::Config {
            let (status, body) = self.ask(Method::GET, "config", None, Bytes::new())?;
            if status == StatusCode::NOT_FOUND {
                return Ok(Vec::new());
            }
            self.fine("config", status, &body)?;
            return Ok(vec![(String::new(), body.len() as u64)]);
        }
        let entries = self.entries(kind.directory())?;
        Ok(entries.into_iter().map(|entry| (entry.name, entry.size)).collect())
    }

    fn read(
        &self,
        file: &CopyName,
        range: Option<(u32, u32)>,
    ) -> Result<Option<Bytes>, RemoteError> {
        let path = address(file);
        let (status, body) = self.ask(Method::GET, &path, range, Bytes::new())?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.fine(&path, status, &body)?;
        if range.is_some() && status != StatusCode::PARTIAL_CONTENT {
            return Err(RemoteError(format!("{path}: a part was asked for, and all came")));
        }
        Ok(Some(body))
    }

    fn write(&self, file: &CopyName, content: &[Bytes]) -> Result<(), RemoteError> {
        let path = address(file);
        let whole = match content {
            [one] => one.clone(),
            parts => parts.concat().into(),
        };
        let (status, body) = self.ask(Method::POST, &path, None, whole)?;
        self.fine(&path, status, &body)
    }

    fn remove(&self, file: &CopyName) -> Result<(), RemoteError> {
        let path = address(file);
        let (status, body) = self.ask(Method::DELETE, &path, None, Bytes::new())?;
        if status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        self.fine(&path, status, &body)
    }

    fn make(&self) -> Result<(), RemoteError> {
        let (status, body) = self.ask(Method::POST, "?create=true", None, Bytes::new())?;
        self.fine("?create=true", status, &body)
    }

    fn restic_lock(&self) -> Result<Option<String>, RemoteError> {
        // The protocol tells no times, so any lock counts.
        Ok(self.entries("locks")?.first().map(|entry| format!("locks/{}", entry.name)))
    }

    fn hold(&self) -> Result<(), RemoteError> {
        Ok(())
    }
}

/// The protocol knows no directories below `data`.
fn address(file: &CopyName) -> String {
    match file.kind() {
        CopyKind::Config => "config".into(),
        CopyKind::Key | CopyKind::Snapshot | CopyKind::Index | CopyKind::Pack | CopyKind::Proof => {
            format!("{}/{}", file.kind().directory(), file.name())
        }
    }
}
