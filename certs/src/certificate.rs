//! The few facts of a certificate that the other modules need, read once.
//!
//! Reading is not verifying: the chain is checked in `verify`.

use crate::{
    digest::{Fingerprint, hex},
    identity::{Identity, IdentityError},
};
use model::Wall;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The text holds no certificate in PEM form, or a broken one.
    #[error("no readable certificate in PEM form: {detail}")]
    Pem {
        /// What the parser says.
        detail: String,
    },
    /// It names nobody.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// A certificate of ours, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Who it speaks for.
    pub identity: Identity,
    /// Its serial number: lower-case hexadecimal without leading zero bytes.
    pub serial: String,
    /// Valid from.
    pub not_before: Wall,
    /// Valid until.
    pub not_after: Wall,
    /// SHA-256 of the whole certificate.
    pub fingerprint: Fingerprint,
    /// The public key: SubjectPublicKeyInfo in DER form.
    pub public_key: Vec<u8>,
}

impl Leaf {
    /// Reads a certificate in DER form.
    ///
    /// # Errors
    /// [`IdentityError`]: it is not a certificate, or it names nobody.
    pub fn of(der: &[u8]) -> Result<Self, IdentityError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::Malformed)?;
        if !rest.is_empty() {
            return Err(IdentityError::Malformed);
        }
        let wall = |seconds: i64| Wall(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
        Ok(Self {
            identity: Identity::of_parsed(&certificate)?,
            serial: serial_hex(certificate.raw_serial()),
            not_before: wall(certificate.validity().not_before.timestamp()),
            not_after: wall(certificate.validity().not_after.timestamp()),
            fingerprint: Fingerprint::of(der),
            public_key: certificate.public_key().raw.to_vec(),
        })
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// [`LeafError`]: there is none, or it cannot be read.
    pub fn of_pem(pem: &str) -> Result<Self, LeafError> {
        let chain = certificates(pem)?;
        let first = chain.first().ok_or_else(|| LeafError::Pem { detail: "it is empty".into() })?;
        Ok(Self::of(first)?)
    }
}

/// Every certificate of a PEM text, in order.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, LeafError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| LeafError::Pem { detail: error.to_string() })
}

/// A serial number's bytes as text, the same however DER padded them.
pub(crate) fn serial_hex(raw: &[u8]) -> String {
    let start = raw.iter().position(|byte| *byte != 0).unwrap_or(raw.len());
    hex(&raw[start..])
}

/// A serial number as a person or another tool wrote it (`0A:1B`, `0a1b`), in
/// the form that [`Leaf::serial`] has; nothing when it is not hexadecimal.
#[must_use]
pub fn normalise_serial(text: &str) -> Option<String> {
    let digits: String =
        text.trim().chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    // A serial number has at most 20 bytes (RFC 5280, 4.1.2.2), and DER may add a zero byte.
    let plausible = !digits.is_empty() && digits.len() <= 42 && digits.len().is_multiple_of(2);
    if !plausible || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let mut short = digits.as_str();
    while let Some(rest) = short.strip_prefix("00") {
        short = rest;
    }
    Some(short.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_have_one_form() {
        assert_eq!(serial_hex(&[0, 0x8f, 1]), "8f01");
        assert_eq!(normalise_serial("00:8F:01").as_deref(), Some("8f01"));
        for bad in ["", "xyz1", "abc", &"ab".repeat(22)] {
            assert_eq!(normalise_serial(bad), None, "{bad}");
        }
    }
}
