//! Keeps other hosts' backups: the receiving side of an `agent` repository.
//!
//! A caller adds to the repositories of the host in its certificate and to no
//! other, and removes nothing: a thief on a sending host cannot take its copies
//! back. What is kept is encrypted with a key that need not be here. Invariants:
//! every wait is bounded, also for a sender that trickles; the disk is used on
//! blocking threads, so that no lease waits for it; see [`shelf`] for the files.

mod shelf;

use super::KeepConfig;
use certs::{Allow, require};
use daemon::random::Random;
use model::{CopyKind, CopyName, HostId, repository_name};
use proto::{
    convert::copy_kind,
    v1::{
        self,
        backup_copies_server::{BackupCopies, BackupCopiesServer},
        write_copy::Body,
    },
};
use ring::digest::{Context, SHA256};
use shelf::{Draft, Held, Shelf, Which, failed};
use std::{
    io::SeekFrom,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
    sync::{Semaphore, mpsc},
    time::{Instant, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Bytes in one message, of which a sender may use four times as many.
const PIECE: usize = 256 * 1024;
const MESSAGE_MAX: usize = 1024 * 1024;
/// The largest file: packs of `restic` and the library stay far below.
const FILE_MAX: u64 = 512 << 20;
/// What a proof takes, many times over.
const PROOF_MAX: u64 = 4096;
/// The longest pause within a file, either way.
const PIECE_LIMIT: Duration = Duration::from_secs(20);
/// The slowest sender: what it takes at 32 KiB a second, and a while beside.
const LEAST_RATE: u64 = 32 * 1024;
const FILE_LIMIT: Duration = Duration::from_secs(60);
/// Files that are written at a time, over all senders: the disk is the limit.
const WRITES_MAX: usize = 4;
/// Files that are read, and directories that are listed, at a time.
const READS_MAX: usize = 8;
/// How long one may wait for its turn.
const TURN_LIMIT: Duration = Duration::from_secs(30);

/// Always given at once, and filled by a task: a call of this server's has two
/// seconds for its answer, and a disk may need longer.
type Answers<T> = ReceiverStream<Result<T, Status>>;

/// The service, for what this configuration allows.
pub(super) fn service(config: KeepConfig) -> BackupCopiesServer<Service> {
    tracing::info!(directory = %config.directory.display(), hosts = ?config.hosts, "keeps backups of other hosts");
    BackupCopiesServer::new(Service {
        shelf: Arc::new(Shelf::new(config)),
        writes: Arc::new(Semaphore::new(WRITES_MAX)),
        reads: Arc::new(Semaphore::new(READS_MAX)),
        numbers: Mutex::new(Random::from_os()),
    })
    .max_decoding_message_size(MESSAGE_MAX)
}

pub(super) struct Service {
    shelf: Arc<Shelf>,
    writes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    /// A number that an earlier run gave away must not fit.
    numbers: Mutex<Random>,
}

/// Who may do what with a host's copies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Add,
    Read,
}

/// Ends a hold when its stream does.
struct Ending {
    shelf: Arc<Shelf>,
    number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (shelf, number) = (Arc::clone(&self.shelf), self.number);
        // A write may be at its last step, which takes a sync.
        tokio::task::spawn_blocking(move || shelf.release(number));
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Status::unavailable("the agent ends")))
}

async fn turn(places: &Arc<Semaphore>) -> Result<tokio::sync::OwnedSemaphorePermit, Status> {
    match timeout(TURN_LIMIT, Arc::clone(places).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(Status::unavailable("too much is under way here; try again")),
    }
}

impl Service {
    /// The caller, and the repository that it means, if it may.
    #[allow(clippy::result_large_err)]
    fn which<T>(
        &self,
        request: &Request<T>,
        call: &str,
        copies: Option<v1::Copies>,
        wish: Wish,
    ) -> Result<Which, Status> {
        let peer = require(request, call, &[Allow::Agents])?;
        let copies = copies.ok_or_else(|| Status::invalid_argument("`copies` is missing"))?;
        let bad = |words: String| Status::invalid_argument(words);
        let host = HostId::new(copies.host).map_err(|error| bad(error.to_string()))?;
        repository_name(&copies.repository).map_err(|error| bad(error.to_string()))?;
        let name = peer.identity.name();
        let config = self.shelf.config();
        let listed = |hosts: &[HostId]| hosts.iter().any(|of| of.as_str() == name);
        let own = name == host.as_str();
        let may = match wish {
            Wish::Add => own && listed(&config.hosts),
            Wish::Read => (own && listed(&config.hosts)) || listed(&config.readers),
        };
        if may {
            return Ok(Which { host, repository: copies.repository });
        }
        let words = match wish {
            Wish::Add if !own => {
                format!("this is {}; it adds to its own copies alone", peer.identity)
            }
            Wish::Add | Wish::Read => format!(
                "{} may not use the backups of host {host} here; name it in [peer.backups] of \
                 this host's agent.toml",
                peer.identity
            ),
        };
        tracing::warn!(peer = %peer.address, reason = words, "refused a call");
        Err(Status::permission_denied(words))
    }
}

#[tonic::async_trait]
impl BackupCopies for Service {
    type HoldStream = Answers<v1::CopiesHeld>;
    type ListStream = Answers<v1::CopyListed>;
    type ReadStream = Answers<v1::CopyPiece>;
    type WriteStream = Answers<v1::CopyWritten>;

    async fn hold(
        &self,
        request: Request<v1::HoldCopies>,
    ) -> Result<Response<Self::HoldStream>, Status> {
        let copies = request.get_ref().copies.clone();
        let which = self.which(&request, "Hold", copies, Wish::Add)?;
        let number = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        let (answers, stream) = mpsc::channel(1);
        let shelf = Arc::clone(&self.shelf);
        tokio::spawn(async move {
            let ending = Ending { shelf: Arc::clone(&shelf), number };
            let held = blocking(move || shelf.hold(which, number)).await;
            let good = held.is_ok();
            // There is room for one.
            let _ = answers.try_send(held.map(|_| v1::CopiesHeld { hold: number }));
            if good {
                // Until the caller ends it, or its connection does.
                answers.closed().await;
            }
            drop(ending);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list(
        &self,
        request: Request<v1::ListCopies>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let asked = request.get_ref().clone();
        let which = self.which(&request, "List", asked.copies, Wish::Read)?;
        let kind =
            copy_kind(asked.kind).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (shelf, reads) = (Arc::clone(&self.shelf), Arc::clone(&self.reads));
        let (answers, stream) = mpsc::channel(64);
        tokio::spawn(async move {
            let listed = async {
                let _turn = turn(&reads).await?;
                blocking(move || shelf.list(&which, kind)).await
            };
            let all = match listed.await {
                Ok(found) => found,
                Err(status) => {
                    let _ = answers.send(Err(status)).await;
                    return;
                }
            };
            // Without a limit, because a list that ends early would look whole; who
            // does not read it holds nothing but the list, and that till its line ends.
            for (name, bytes) in all {
                if answers.send(Ok(v1::CopyListed { name, bytes })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn read(
        &self,
        request: Request<v1::ReadCopy>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let asked = request.get_ref().clone();
        let which = self.which(&request, "Read", asked.copies, Wish::Read)?;
        let file = name_of(asked.file)?;
        let (path, reads) = (self.shelf.root(&which).join(file.path()), Arc::clone(&self.reads));
        let range = asked.range.map_or((0, FILE_MAX), |range| (range.offset, range.bytes));
        let (answers, stream) = mpsc::channel(2);
        tokio::spawn(async move {
            let sent = send(&path, range, &reads, &answers).await;
            if let Err(status) = sent {
                // Half a file must not end well, and its place is another's by now.
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn write(
        &self,
        request: Request<Streaming<v1::WriteCopy>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let peer = require(&request, "Write", &[Allow::Agents])?;
        let (shelf, writes) = (Arc::clone(&self.shelf), Arc::clone(&self.writes));
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let done = receive(&shelf, &writes, peer.identity.name(), request.into_inner()).await;
            if let Err(status) = &done {
                tracing::warn!(
                    host = peer.identity.name(),
                    reason = status.message(),
                    "a file of a backup was not taken"
                );
            }
            // The sender may be gone, which changes nothing.
            let _ = answers.try_send(done.map(|was_there| v1::CopyWritten { was_there }));
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn slow() -> Status {
    Status::deadline_exceeded("too slow; nothing was written")
}

#[allow(clippy::result_large_err)]
fn name_of(file: Option<v1::CopyFile>) -> Result<CopyName, Status> {
    let file = file.ok_or_else(|| Status::invalid_argument("`file` is missing"))?;
    CopyName::try_from(file).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// A file, or a part of it, to who asks.
async fn send(
    path: &Path,
    (offset, bytes): (u64, u64),
    reads: &Arc<Semaphore>,
    answers: &mpsc::Sender<Result<v1::CopyPiece, Status>>,
) -> Result<(), Status> {
    let _turn = turn(reads).await?;
    let lost = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Status::not_found("there is no such file"),
        _ => failed("read", path, &error),
    };
    let mut source = File::open(path).await.map_err(lost)?;
    source.seek(SeekFrom::Start(offset)).await.map_err(lost)?;
    let mut source = source.take(bytes);
    loop {
        let mut data = Vec::with_capacity(PIECE);
        let count = (&mut source).take(PIECE as u64).read_to_end(&mut data).await.map_err(lost)?;
        if count == 0 {
            return Ok(());
        }
        let sent = timeout(PIECE_LIMIT, answers.send(Ok(v1::CopyPiece { data }))).await;
        if sent.map_err(|_| slow())?.is_err() {
            return Ok(());
        }
    }
}

/// One file, from its first message to its last.
async fn receive(
    shelf: &Shelf,
    writes: &Arc<Semaphore>,
    host: &str,
    mut messages: Streaming<v1::WriteCopy>,
) -> Result<bool, Status> {
    let first = timeout(PIECE_LIMIT, messages.message()).await.map_err(|_| slow())??;
    let Some(v1::WriteCopy { body: Some(Body::Begin(begin)) }) = first else {
        return Err(Status::invalid_argument("a write begins with what is written"));
    };
    let held: Arc<Held> = shelf.held(begin.hold, host).ok_or_else(|| {
        Status::failed_precondition("the repository is not held (any more); begin again")
    })?;
    let file = name_of(begin.file)?;
    let most = if file.kind() == CopyKind::Proof { PROOF_MAX } else { FILE_MAX };
    if begin.bytes > most {
        let words = format!("{} of {} bytes; at most {most} are taken", file.path(), begin.bytes);
        return Err(Status::out_of_range(words));
    }
    let _turn = turn(writes).await?;
    let draft = shelf.begin(&held, file, begin.bytes)?;
    let limit = FILE_LIMIT + Duration::from_secs(begin.bytes / LEAST_RATE);
    fill(&draft, begin.bytes, &mut messages, Instant::now() + limit).await?;
    blocking(move || draft.finish()).await
}

/// Writes what comes, and looks whether it is all, and what its name says.
async fn fill(
    draft: &Draft,
    bytes: u64,
    messages: &mut Streaming<v1::WriteCopy>,
    deadline: Instant,
) -> Result<(), Status> {
    let path = &draft.temporary;
    let lost = |error| failed("write", path, &error);
    let mut options = File::options();
    let mut file =
        options.write(true).create_new(true).mode(0o400).open(path).await.map_err(lost)?;
    let (mut digest, mut left) = (Context::new(&SHA256), bytes);
    loop {
        let until = deadline.min(Instant::now() + PIECE_LIMIT);
        let piece = match timeout_at(until, messages.message()).await.map_err(|_| slow())?? {
            None => break,
            Some(v1::WriteCopy { body: Some(Body::Piece(piece)) }) => piece.data,
            Some(_) => return Err(Status::invalid_argument("a write goes on with bytes")),
        };
        left = left
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| Status::out_of_range("more bytes came than were announced"))?;
        digest.update(&piece);
        file.write_all(&piece).await.map_err(lost)?;
    }
    if left > 0 {
        return Err(Status::data_loss(format!("{left} of {bytes} bytes did not come")));
    }
    file.flush().await.map_err(lost)?;
    file.sync_all().await.map_err(lost)?;
    let found: String = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    if draft.file.kind().is_named_by_content() && found != draft.file.name() {
        return Err(Status::data_loss(format!(
            "{} came with other bytes than its name says ({found})",
            draft.file.path()
        )));
    }
    Ok(())
}
