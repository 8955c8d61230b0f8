//! How a value lies in the journal's file: a checksum, then its bytes.
//!
//! The database checks its own pages; this check is end to end, so that a value
//! altered on its way to or from a page is found too.

use ring::digest::{SHA256, digest};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of SHA-256 kept before each value: chance alone passes one in 2^64.
const CHECK: usize = 8;

/// Why stored bytes are not what was written.
#[derive(Debug, thiserror::Error)]
pub(in crate::consensus) enum FrameError {
    /// Fewer bytes than a checksum.
    #[error("only {0} bytes are left of it")]
    Torn(usize),
    /// The checksum is of other bytes.
    #[error("its checksum does not match: bytes were changed after it was written")]
    Checksum,
    /// The checksum matches, and yet it is not what this program writes.
    #[error("it is intact, but not in a form that this program knows: {0}")]
    Form(String),
}

/// The bytes to store for a body of bytes.
pub(in crate::consensus) fn seal(body: &[u8]) -> Vec<u8> {
    let sum = digest(&SHA256, body);
    let mut bytes = Vec::with_capacity(CHECK.saturating_add(body.len()));
    bytes.extend(sum.as_ref().iter().take(CHECK));
    bytes.extend_from_slice(body);
    bytes
}

/// The body that was stored.
pub(in crate::consensus) fn open(bytes: &[u8]) -> Result<&[u8], FrameError> {
    let (sum, body) = bytes.split_at_checked(CHECK).ok_or(FrameError::Torn(bytes.len()))?;
    if digest(&SHA256, body).as_ref().get(..CHECK) == Some(sum) {
        Ok(body)
    } else {
        Err(FrameError::Checksum)
    }
}

/// The bytes to store for a value.
pub(in crate::consensus) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    Ok(seal(&serde_json::to_vec(value)?))
}

/// The value that was stored.
pub(in crate::consensus) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(open(bytes)?).map_err(|why| FrameError::Form(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = encode(&("a record", 7)).unwrap();
        assert_eq!(decode::<(String, u32)>(&bytes).unwrap(), ("a record".into(), 7));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode::<(String, u32)>(&bad), Err(FrameError::Checksum)), "{bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode::<(String, u32)>(&bytes[..length]).is_err(), "{length}");
        }
        let other = encode(&"text").unwrap();
        assert!(matches!(decode::<u32>(&other), Err(FrameError::Form(_))));
    }
}
