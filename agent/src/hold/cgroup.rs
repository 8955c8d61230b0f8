//! Entering the cgroup by which the kernel gate knows the program (A1).
//!
//! The holder enters before it starts anything, so that every socket of the
//! program and of its children is made inside. One that cannot enter starts
//! nothing: it would run outside the gate.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Moves this process into the cgroup, which the agent made.
///
/// # Errors
/// It is not there, or this process may not enter; in words.
pub(super) fn enter(cgroup: Option<&PathBuf>) -> io::Result<()> {
    let Some(cgroup) = cgroup else { return Ok(()) };
    // 0 is whoever writes it. The file is there already, and never made here.
    let write = |file: &Path| {
        let mut open = std::fs::OpenOptions::new().write(true).open(file)?;
        io::Write::write_all(&mut open, b"0")
    };
    write(&cgroup.join("cgroup.procs")).map_err(|error| {
        let words = format!("cannot enter the gate's cgroup {}: {error}", cgroup.display());
        io::Error::new(error.kind(), words)
    })
}
