//! A stream, written down before it is copied.
//!
//! The format holds a file's length beside its content, and the restic program
//! restores no more than that; a stream's length is known at its end only. The
//! file has no name: whatever is killed, nothing of it stays on the disk.

use super::walk::Content;
use daemon::durable;
use rustix::fs::{Mode, OFlags, open};
use std::{
    fs::File,
    io::{self, Seek},
    path::Path,
};

/// Reads a stream to its end; a file at its beginning, and its length.
pub(super) fn spool(mut from: Content, directory: &Path) -> io::Result<(File, u64)> {
    durable::create_private_dir(directory).map_err(|error| io::Error::other(error.to_string()))?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mut file = File::from(open(directory, flags, Mode::RUSR | Mode::WUSR)?);
    let length = io::copy(&mut from, &mut file)?;
    file.rewind()?;
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_stream_becomes_a_file_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("backup");
        let (mut file, length) = spool(Box::new(io::Cursor::new(b"all of it")), &place).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), length), ("all of it", 9));
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    }
}
