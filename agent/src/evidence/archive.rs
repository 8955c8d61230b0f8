//! The archive: a tar of numbered members, written as it is read, with the
//! manifest and its signature at the end. Nothing touches a disk here, and at most
//! two pieces are in memory.
//!
//! Each piece is compressed by itself, so that a flipped bit spoils one member
//! alone; `cat NAME.* | zstd -d` puts an item together again.

use certs::{Fingerprint, SealError, Trust};
use model::{
    HostId, Wall,
    evidence::{Item, MANIFEST, Manifest, Member, PURPOSE, SEAL, VERSION},
};
use std::io::{self, Read, Write};

/// How much of an item is one member, before it is compressed.
pub(super) const PIECE: usize = 4 << 20;
/// tar's block.
const BLOCK: usize = 512;
/// zstd's own default: beyond, a busy host pays more than the line gains.
const LEVEL: i32 = 3;

/// Whether an item's pieces are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    /// With zstd; the members end in `.zst`.
    Zstd,
    /// As they are, to be compared.
    Plain,
}

/// What is still to be said about an item when its reader is at its end.
pub(super) trait Source: Read {
    /// Empty, or why it is not all there.
    fn fault(&mut self) -> String {
        String::new()
    }
}

impl Source for &[u8] {}

/// An archive under way.
pub(super) struct Archive<W> {
    out: W,
    begun: Wall,
    host: HostId,
    items: Vec<Item>,
    /// What may still be written.
    left: u64,
}

impl<W: Write> Archive<W> {
    pub(super) fn begin(out: W, host: HostId, begun: Wall, limit: u64) -> Self {
        Self { out, begun, host, items: Vec::new(), left: limit }
    }

    /// Whether there is no room for another item.
    pub(super) const fn full(&self) -> bool {
        self.left == 0
    }

    /// Reads a source to its end, or to `limit` bytes of it.
    ///
    /// # Errors
    /// Nobody takes the archive any more.
    pub(super) fn item(
        &mut self,
        (name, how): (&str, &str),
        packed: Packed,
        limit: u64,
        source: &mut dyn Source,
    ) -> io::Result<()> {
        let at = certs::now();
        let (mut members, mut bytes, mut cut) = (Vec::new(), 0_u64, String::new());
        let mut piece = Vec::new();
        loop {
            let room = limit.saturating_sub(bytes).min(PIECE as u64);
            piece.clear();
            if let Err(error) = Read::take(&mut *source, room).read_to_end(&mut piece) {
                cut = format!("it cannot be read: {error}");
            }
            bytes += piece.len() as u64;
            if !piece.is_empty() {
                let number = members.len();
                match self.piece(&format!("{name}.{number:04}"), packed, &piece)? {
                    Some(member) => members.push(member),
                    None => cut = "the archive is full".into(),
                }
            }
            if !cut.is_empty() || (piece.len() as u64) < room {
                break;
            }
            if bytes >= limit {
                // One byte more tells whether anything is missing.
                if source.read(&mut [0]).is_ok_and(|more| more > 0) {
                    cut = format!("only its first {limit} bytes are here");
                }
                break;
            }
        }
        if cut.is_empty() {
            cut = source.fault();
        }
        let (name, how) = (name.to_owned(), how.to_owned());
        self.items.push(Item { name, how, at, bytes, members, cut });
        Ok(())
    }

    /// Notes what cannot be had at all.
    pub(super) fn missing(&mut self, name: &str, how: &str, why: String) {
        let (name, how, at) = (name.to_owned(), how.to_owned(), certs::now());
        self.items.push(Item { name, how, at, bytes: 0, members: Vec::new(), cut: why });
    }

    fn piece(&mut self, name: &str, packed: Packed, raw: &[u8]) -> io::Result<Option<Member>> {
        let compressed;
        let (name, bytes) = match packed {
            Packed::Plain => (name.to_owned(), raw),
            Packed::Zstd => {
                compressed = zstd::bulk::compress(raw, LEVEL)?;
                (format!("{name}.zst"), compressed.as_slice())
            }
        };
        let length = bytes.len() as u64;
        if length > self.left {
            self.left = 0;
            return Ok(None);
        }
        self.left -= length;
        self.member(&name, bytes)?;
        let sha256 = Fingerprint::of(bytes).to_string();
        Ok(Some(Member { name, bytes: length, sha256 }))
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(&header(name, bytes.len(), self.begun)?)?;
        self.out.write_all(bytes)?;
        let odd = bytes.len() % BLOCK;
        if odd > 0 {
            self.out.write_all(&[0; BLOCK][odd..])?;
        }
        Ok(())
    }

    /// Signs and ends it; `cut` says why items are missing at the end.
    ///
    /// # Errors
    /// In words.
    pub(super) fn end(mut self, trust: &Trust, cut: String) -> Result<Manifest, EndError> {
        let manifest = Manifest {
            version: VERSION,
            host: self.host.clone(),
            begun: self.begun,
            ended: certs::now(),
            items: std::mem::take(&mut self.items),
            cut,
        };
        let text = serde_json::to_vec_pretty(&manifest)?;
        let seal = trust.seal(PURPOSE, &text)?;
        self.member(MANIFEST, &text)?;
        self.member(SEAL, &serde_json::to_vec_pretty(&seal)?)?;
        // Two blocks of nothing end a tar.
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(manifest)
    }
}

/// Why an archive has no end.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// Nobody takes it.
    #[error("the archive cannot be written: {0}")]
    Write(#[from] io::Error),
    /// It cannot be signed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Its manifest cannot be put into words.
    #[error("the manifest cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// A ustar header (POSIX.1-1988): a file that its owner may read.
fn header(name: &str, length: usize, at: Wall) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    let mut put = |from: usize, most: usize, text: &str| {
        if text.len() > most {
            let words = format!("`{text}` is too long for a tar header");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        block[from..from + text.len()].copy_from_slice(text.as_bytes());
        Ok(())
    };
    put(0, 100, name)?;
    put(100, 8, "0000400\0")?;
    put(108, 8, "0000000\0")?;
    put(116, 8, "0000000\0")?;
    put(124, 12, &format!("{length:011o}\0"))?;
    put(136, 12, &format!("{:011o}\0", at.0 / 1000))?;
    // The sum is taken with blanks in its own place.
    put(148, 8, "        ")?;
    put(156, 1, "0")?;
    put(257, 8, "ustar\u{0}00")?;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}
