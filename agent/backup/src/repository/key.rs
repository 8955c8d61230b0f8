//! The key file of a repository whose password is random.
//!
//! A key is derived from a password slowly (scrypt, 128 MiB and some tenths of a
//! second), so that guessing passwords is slow. One of 256 random bits cannot be
//! guessed at any speed, so deriving it slowly protects nothing, and costs every
//! run. The file is of `restic`'s form, which says its parameters itself.

use super::RepositoryError;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce, aead::Aead};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use rustic_core::{FileType, Id, ReadBackend, WriteBackend, repofile::MasterKey};
use scrypt::Params;
use serde::Serialize;
use std::str::FromStr;

/// 2^10 rounds of 1 KiB: 1 MiB, a few milliseconds.
const LOG_N: u8 = 10;
const R: u32 = 8;
const P: u32 = 1;
/// `restic` refuses any other length.
const SALT: usize = 64;
const NONCE: usize = 16;

#[derive(Serialize)]
struct File {
    hostname: String,
    username: String,
    created: jiff::Timestamp,
    kdf: &'static str,
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
    data: String,
    salt: String,
}

/// Puts a key file that costs little in the place of those that are there: only
/// for a repository that was made just now, with this password.
pub(super) fn replace<B: ReadBackend + WriteBackend>(
    backend: &B,
    secret: &str,
    master: &MasterKey,
) -> Result<(), RepositoryError> {
    let failed = RepositoryError::library("the key file could not be made");
    let text = file(secret, master).ok_or(RepositoryError::Library {
        doing: "the key file could not be made",
        words: "the system gave no random numbers".into(),
    })?;
    let name: String =
        digest(&SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let id = Id::from_str(&name).map_err(&failed)?;
    let before = backend.list(FileType::Key).map_err(&failed)?;
    backend.write_bytes(FileType::Key, &id, false, text.into()).map_err(&failed)?;
    for old in before.iter().filter(|old| **old != id) {
        backend.remove(FileType::Key, old, false).map_err(&failed)?;
    }
    Ok(())
}

/// Sends a repository that was made just now: its keys, and last what says that
/// it is one.
pub(super) fn send<A: ReadBackend, B: WriteBackend>(
    from: &A,
    to: &B,
) -> Result<(), RepositoryError> {
    let failed = RepositoryError::library("the repository could not be sent");
    for kind in [FileType::Key, FileType::Config] {
        for id in from.list(kind).map_err(&failed)? {
            let bytes = from.read_full(kind, &id).map_err(&failed)?;
            to.write_bytes(kind, &id, false, bytes.into()).map_err(&failed)?;
        }
    }
    Ok(())
}

/// The file; `None` where the system has no random numbers.
fn file(secret: &str, master: &MasterKey) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE]);
    random.fill(&mut salt).ok()?;
    random.fill(&mut nonce).ok()?;
    let mut derived = [0; 64];
    scrypt::scrypt(secret.as_bytes(), &salt, &Params::new(LOG_N, R, P).ok()?, &mut derived).ok()?;
    let plain = serde_json::to_vec(master).ok()?;
    let sealed = Aes256CtrPoly1305Aes::new(Key::from_slice(&derived))
        .encrypt(Nonce::from_slice(&nonce), plain.as_slice())
        .ok()?;
    let file = File {
        hostname: String::new(),
        username: "understudy".into(),
        created: jiff::Timestamp::now(),
        kdf: "scrypt",
        n: 1 << LOG_N,
        r: R,
        p: P,
        data: STANDARD.encode([nonce.as_slice(), &sealed].concat()),
        salt: STANDARD.encode(salt),
    };
    serde_json::to_vec(&file).ok()
}
