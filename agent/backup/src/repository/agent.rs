//! A repository that another host's agent keeps, over mTLS with this host's own
//! certificate. Files are added and read; nothing is replaced and nothing
//! removed, so a thief on this host cannot take the copies back.

use super::remote::{Remote, RemoteError};
use crate::config::AgentTarget;
use bytes::{Bytes, BytesMut};
use certs::{Expected, Link, RoleKind, Trust};
use model::{CopyKind, CopyName};
use proto::v1::{self, backup_copies_client::BackupCopiesClient, write_copy::Body};
use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{runtime::Runtime, task::AbortHandle, time::timeout};
use tonic::{Status, transport::Channel};

/// Bytes in one message.
const PIECE: usize = 256 * 1024;
/// How long the other side may take for one answer, or one piece of it. A write
/// is answered when it is durable, which a busy disk makes slow.
const ANSWER: Duration = Duration::from_secs(60);
/// Time for a write beside that: no slower than 64 KiB a second.
const LEAST_RATE: u64 = 64 * 1024;
/// As the peers' own connections, with room for a full line.
const LINK: Link = Link {
    connect: Duration::from_secs(5),
    keepalive_interval: Duration::from_secs(5),
    keepalive_timeout: Duration::from_secs(10),
    user_timeout: Duration::from_secs(15),
    call: None,
};

/// The right to write, for as long as its stream is open.
struct Hold {
    number: u64,
    task: AbortHandle,
}

pub(super) struct Agent {
    runtime: Runtime,
    client: BackupCopiesClient<Channel>,
    copies: v1::Copies,
    host: String,
    /// Whether these are another host's copies.
    foreign: bool,
    hold: Mutex<Option<Hold>>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(hold) = self.held().take() {
            hold.task.abort();
        }
    }
}

impl Agent {
    /// Dials it.
    pub(super) fn connect(
        target: &AgentTarget,
        repository: &str,
        own: &str,
        pki: &Path,
    ) -> Result<Self, RemoteError> {
        let trust = Trust::load(pki).map_err(|error| RemoteError(certs::explain(&error)))?;
        let runtime = super::runtime()?;
        let expected = Expected::role(RoleKind::Agent).named(target.host.as_str());
        let channel = runtime
            .block_on(certs::connect(&trust, &target.address, &expected, &LINK))
            .map_err(|error| RemoteError(certs::explain(&error)))?;
        let host = target.of.clone().unwrap_or_else(|| own.into());
        Ok(Self {
            runtime,
            client: BackupCopiesClient::new(channel),
            foreign: host != own,
            copies: v1::Copies {
                host,
                repository: target.repository.clone().unwrap_or_else(|| repository.into()),
            },
            host: target.host.clone(),
            hold: Mutex::new(None),
        })
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, status: &Status) -> String {
        format!("agent {}: {}", self.host, certs::explain_status(status))
    }

    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, Status>>,
        limit: Duration,
    ) -> Result<T, String> {
        match timeout(limit, answer).await {
            Ok(done) => done.map_err(|status| self.say(&status)),
            Err(_) => Err(format!("agent {}: no answer within {limit:?}", self.host)),
        }
    }

    async fn put(&self, file: &CopyName, content: &[Bytes]) -> Result<(), String> {
        let hold = self.held().as_ref().map(|hold| hold.number).ok_or("it is not held")?;
        let length: usize = content.iter().map(Bytes::len).sum();
        let bytes = u64::try_from(length).unwrap_or(u64::MAX);
        let begin = v1::WriteBegin { hold, file: Some(file.into()), bytes };
        let mut pieces = Vec::new();
        for part in content {
            let mut part = part.clone();
            while !part.is_empty() {
                pieces.push(part.split_to(part.len().min(PIECE)));
            }
        }
        // Copied only when it is sent.
        let pieces = pieces.into_iter().map(|of| Body::Piece(v1::CopyPiece { data: of.to_vec() }));
        let bodies = std::iter::once(Body::Begin(begin)).chain(pieces);
        let messages = futures::stream::iter(bodies.map(|body| v1::WriteCopy { body: Some(body) }));
        let limit = ANSWER + Duration::from_secs(bytes / LEAST_RATE);
        let mut client = self.client.clone();
        let written = async {
            client.write(messages).await?.into_inner().message().await?.ok_or_else(|| {
                Status::unavailable("the connection ended before it said that the file is safe")
            })
        };
        self.within(written, limit).await.map(|_| ())
    }

    async fn get(
        &self,
        file: &CopyName,
        range: Option<(u32, u32)>,
    ) -> Result<Option<Bytes>, String> {
        let range = range
            .map(|(offset, bytes)| v1::CopyRange { offset: offset.into(), bytes: bytes.into() });
        let request =
            v1::ReadCopy { copies: Some(self.copies.clone()), file: Some(file.into()), range };
        let mut client = self.client.clone();
        let mut pieces = self.within(client.read(request), ANSWER).await?.into_inner();
        let mut all = BytesMut::new();
        loop {
            match timeout(ANSWER, pieces.message()).await {
                Ok(Ok(Some(piece))) => all.extend_from_slice(&piece.data),
                Ok(Ok(None)) => return Ok(Some(all.freeze())),
                Ok(Err(status)) if status.code() == tonic::Code::NotFound => return Ok(None),
                Ok(Err(status)) => return Err(self.say(&status)),
                Err(_) => return Err(format!("agent {}: no answer within {ANSWER:?}", self.host)),
            }
        }
    }
}

impl Remote for Agent {
    fn list(&self, kind: CopyKind) -> Result<Vec<(String, u64)>, RemoteError> {
        let request = v1::ListCopies {
            copies: Some(self.copies.clone()),
            kind: v1::CopyKind::from(kind).into(),
        };
        let mut client = self.client.clone();
        let listed = self.runtime.block_on(async {
            let mut names = self.within(client.list(request), ANSWER).await?.into_inner();
            let mut found = Vec::new();
            // A stream that breaks off ends with its status: never a short list.
            while let Some(one) = self.within(names.message(), ANSWER).await? {
                found.push((one.name, one.bytes));
            }
            Ok(found)
        });
        listed.map_err(|why: String| RemoteError(format!("cannot list {kind:?} files: {why}")))
    }

    fn read(
        &self,
        file: &CopyName,
        range: Option<(u32, u32)>,
    ) -> Result<Option<Bytes>, RemoteError> {
        let got = self.runtime.block_on(self.get(file, range));
        got.map_err(|why| RemoteError::new("read", file, why))
    }

    fn write(&self, file: &CopyName, content: &[Bytes]) -> Result<(), RemoteError> {
        let put = self.runtime.block_on(self.put(file, content));
        put.map_err(|why| RemoteError::new("write", file, why))
    }

    fn remove(&self, file: &CopyName) -> Result<(), RemoteError> {
        // To take a proof back only makes a copy count for less.
        if file.kind() == CopyKind::Proof {
            return self.write(file, &[]);
        }
        let why = format!("agent {} removes nothing on request; it prunes there", self.host);
        Err(RemoteError::new("remove", file, why))
    }

    fn restic_lock(&self) -> Result<Option<String>, RemoteError> {
        // Looked at over there, when it is held.
        Ok(None)
    }

    fn hold(&self) -> Result<(), RemoteError> {
        if self.foreign {
            return Ok(());
        }
        let request = v1::HoldCopies { copies: Some(self.copies.clone()) };
        let mut client = self.client.clone();
        let held = self.runtime.block_on(async {
            let mut stream = self.within(client.hold(request), ANSWER).await?.into_inner();
            let first = self.within(stream.message(), ANSWER).await?;
            let number = first.ok_or("the hold ended at once")?.hold;
            // Ends with this process, however that ends.
            let task =
                tokio::spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
            Ok(Hold { number, task: task.abort_handle() })
        });
        let hold = held.map_err(|why: String| RemoteError(format!("cannot be held: {why}")))?;
        *self.held() = Some(hold);
        Ok(())
    }
}
