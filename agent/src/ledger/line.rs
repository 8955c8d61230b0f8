//! The ledger's lines: a checksum, a number, and entries.
//!
//! One line is one durable act. `CRC32 {"n":NUMBER,"entries":[...]}`, the
//! checksum over everything after the blank; numbers count up by one within a
//! file, so that a line that was lost or doubled is noticed as well.

use super::memory::Entry;
use serde::{Deserialize, Serialize};

/// The file's first line: what it is, and the format's number.
pub(super) const HEADER: &str = "understudy-ledger 1";

/// CRC-32 as in IEEE 802.3 (reflected, polynomial 0xEDB88320).
const TABLE: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut at = 0;
    while at < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "at is below 256")]
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ (sum >> 8)
    })
}

/// Why a line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Cut off, or changed after it was written.
    #[error("its checksum does not fit its content")]
    Checksum,
    /// It is whole, but one before it is gone or it stands twice.
    #[error("it is number {given} where number {expected} belongs")]
    Number {
        /// The line's.
        given: u64,
        /// The next in order.
        expected: u64,
    },
    /// It is whole, but this program does not know what it says.
    #[error("this agent does not understand it, a newer one may have written it: {0}")]
    Meaning(String),
}

#[derive(Serialize)]
struct Out<'a> {
    n: u64,
    entries: &'a [Entry],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct In {
    n: u64,
    entries: Vec<Entry>,
}

/// One line with its line feed.
pub(super) fn write(number: u64, entries: &[Entry]) -> Result<String, serde_json::Error> {
    let body = serde_json::to_string(&Out { n: number, entries })?;
    Ok(format!("{:08x} {body}\n", checksum(body.as_bytes())))
}

/// Reads a line without its line feed.
pub(super) fn read(line: &[u8], expected: u64) -> Result<Vec<Entry>, LineError> {
    let (sum, body) = line.split_at_checked(9).ok_or(LineError::Checksum)?;
    let sum = std::str::from_utf8(sum).ok().and_then(|sum| sum.strip_suffix(' '));
    let sum = sum.and_then(|sum| u32::from_str_radix(sum, 16).ok());
    if sum != Some(checksum(body)) {
        return Err(LineError::Checksum);
    }
    let read: In =
        serde_json::from_slice(body).map_err(|error| LineError::Meaning(error.to_string()))?;
    if read.n != expected {
        return Err(LineError::Number { given: read.n, expected });
    }
    Ok(read.entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Term;

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_line_is_read_back_and_any_change_is_seen() {
        let entries = vec![Entry::Term(Term(7))];
        let line = write(3, &entries).unwrap();
        let whole = line.trim_end().as_bytes();
        assert_eq!(read(whole, 3), Ok(entries));
        assert_eq!(read(whole, 4), Err(LineError::Number { given: 3, expected: 4 }));
        for at in 0..whole.len() {
            let mut bad = whole.to_vec();
            bad[at] ^= 1;
            // A hexadecimal digit has two cases; everything else must be noticed.
            let same = bad.eq_ignore_ascii_case(whole) && at < 8;
            assert!(same || read(&bad, 3).is_err(), "a change at {at} was not seen");
            assert!(read(&whole[..at], 3).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_a_newer_agent_wrote_is_not_called_damaged() {
        let body = r#"{"n":1,"entries":[{"promise":{"group":"fx"}}]}"#;
        let line = format!("{:08x} {body}", checksum(body.as_bytes()));
        assert!(matches!(read(line.as_bytes(), 1), Err(LineError::Meaning(_))));
    }
}
