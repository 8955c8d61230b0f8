//! Ports on loopback that nobody else takes while a cluster lives.
//!
//! They lie below the range from which the kernel picks the near ends of
//! outgoing connections: a restarted node would else find its port taken by
//! one of its own neighbours' connections. A locked file for each block keeps
//! clusters of tests that run side by side apart.

use anyhow::{Context, Result, bail};
use std::{
    env,
    fs::{self, File},
    net::TcpListener,
};

/// First port of the first block.
const FIRST: u16 = 12_000;
/// Ports in a block: five nodes with two each, two publishers, a webhook, spares.
const BLOCK: u16 = 20;
/// Blocks, up to port 31,999; the kernel's own range begins at 32,768.
const BLOCKS: u16 = 1000;

/// A block of ports, ours while this lives.
#[derive(Debug)]
pub struct Ports {
    next: u16,
    end: u16,
    /// Holds the lock.
    _lock: File,
}

impl Ports {
    /// Takes a block.
    ///
    /// # Errors
    /// When no block is free, or the lock files cannot be made.
    pub fn take() -> Result<Self> {
        // One folder for each user: what one user made, another may not open.
        let folder = env::temp_dir().join(format!("understudy-ports-{}", nix::unistd::getuid()));
        fs::create_dir_all(&folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
        // Begins at a place of its own in each process, so that tests that
        // start together rarely try the same one.
        let process = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or_default();
        for turn in 0..BLOCKS {
            let block = (process.wrapping_mul(7) + turn) % BLOCKS;
            let path = folder.join(format!("{block}.lock"));
            let lock = File::create(&path)
                .with_context(|| format!("could not create {}", path.display()))?;
            if lock.try_lock().is_err() {
                continue;
            }
            let next = FIRST + block * BLOCK;
            let end = next + BLOCK;
            if (next..end).all(free) {
                return Ok(Self { next, end, _lock: lock });
            }
        }
        bail!("no block of {BLOCK} free ports was found between {FIRST} and 32000")
    }

    /// The next port of the block.
    ///
    /// # Errors
    /// When the block is used up.
    pub fn one(&mut self) -> Result<u16> {
        if self.next >= self.end {
            bail!("a cluster's {BLOCK} ports are used up");
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}

fn free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
