//! Signing with one's own key, and checking who signed: for what outlives a
//! connection, such as a host's evidence.
//!
//! A purpose is signed with the bytes, so that a signature for one thing is none
//! for another; what TLS signs begins otherwise.

use crate::{
    certificate::Leaf, client::Expected, digest, explain::explain, identity::RoleKind,
    refusal::Refusal, trust::Trust, verify::Side,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::{Wall, evidence::Seal};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::{
    SignatureScheme,
    pki_types::{CertificateDer, UnixTime},
};
use std::time::Duration;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// Why something cannot be sealed, or a seal is not believed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Our own key makes no such signature.
    #[error("this certificate's key cannot sign: {detail}")]
    Sign {
        /// In words.
        detail: String,
    },
    /// The seal is not one.
    #[error("the seal cannot be read: {detail}")]
    Malformed {
        /// In words.
        detail: &'static str,
    },
    /// Nobody whom we trust has this certificate.
    #[error("the signer is not believed: {}", explain(.0))]
    Signer(#[from] Refusal),
    /// What is sealed is not what was signed.
    #[error("the signature does not fit: what it is over was altered, or another key signed")]
    Altered,
}

/// What is signed: the purpose, and the digest of the bytes.
fn message(purpose: &str, bytes: &[u8]) -> Vec<u8> {
    let mut message = format!("understudy seal\n{purpose}\n").into_bytes();
    message.extend_from_slice(&digest::sha256(bytes));
    message
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

impl Trust {
    /// Signs bytes for a purpose with our own key.
    ///
    /// # Errors
    /// [`SealError::Sign`].
    pub fn seal(&self, purpose: &str, bytes: &[u8]) -> Result<Seal, SealError> {
        let sign = |detail: String| SealError::Sign { detail };
        let snapshot = self.snapshot();
        let signer = snapshot.own.key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
        let signer = signer.ok_or_else(|| sign("it is not of the kind ECDSA P-256".into()))?;
        let signature =
            signer.sign(&message(purpose, bytes)).map_err(|error| sign(error.to_string()))?;
        let own = snapshot.own.cert.first().ok_or_else(|| sign("there is none".into()))?;
        Ok(Seal { certificate: STANDARD.encode(own), signature: digest::hex(&signature) })
    }

    /// Who sealed these bytes for this purpose at that time: an agent whom our
    /// authorities vouch for, and whose certificate we do not know as revoked.
    ///
    /// # Errors
    /// [`SealError`]: anything that makes the seal worth nothing.
    pub fn sealed_by(
        &self,
        purpose: &str,
        bytes: &[u8],
        seal: &Seal,
        at: Wall,
    ) -> Result<Leaf, SealError> {
        let malformed = |detail| SealError::Malformed { detail };
        let der = STANDARD
            .decode(&seal.certificate)
            .map_err(|_| malformed("its certificate is not base64"))?;
        let signature = unhex(&seal.signature).ok_or(malformed("its signature is not hex"))?;
        let then = UnixTime::since_unix_epoch(Duration::from_millis(at.0));
        let expected = Expected::role(RoleKind::Agent);
        let certificate = CertificateDer::from(der.as_slice());
        let leaf = self.snapshot().admit(Side::Client, &certificate, &[], then, &expected)?;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|_| malformed("its certificate is none"))?;
        let key = &parsed.public_key().subject_public_key.data;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(&message(purpose, bytes), &signature)
            .map_err(|_| SealError::Altered)?;
        Ok(leaf)
    }
}

/// SHA-256 of what comes piece by piece.
#[derive(Clone)]
pub struct Sum(ring::digest::Context);

impl Default for Sum {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sum")
    }
}

impl Sum {
    /// Adds a piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The sum as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(self) -> String {
        digest::hex(self.0.finish().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity, Rank, Role, now};

    fn equipped(authority: &Authority, dir: &std::path::Path, role: Role, name: &str) -> Trust {
        let identity = Identity::new("test", role, name).unwrap();
        let dir = dir.join(name);
        authority.equip(&dir, &identity, Duration::from_secs(3600), now()).unwrap();
        Trust::load(dir).unwrap()
    }

    #[test]
    fn a_seal_names_its_signer_and_fits_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create("test", now()).unwrap();
        let agent = equipped(&authority, dir.path(), Role::Agent, "p1");
        let operator = equipped(&authority, dir.path(), Role::Operator(Rank::Viewer), "ann");
        let seal = agent.seal("evidence", b"all of it").unwrap();
        let by = operator.sealed_by("evidence", b"all of it", &seal, now()).unwrap();
        assert_eq!(by.identity.name(), "p1");
        let altered = |purpose, bytes: &[u8], seal: &Seal| {
            operator.sealed_by(purpose, bytes, seal, now()).unwrap_err()
        };
        assert!(matches!(altered("evidence", b"all of iT", &seal), SealError::Altered));
        assert!(matches!(altered("another", b"all of it", &seal), SealError::Altered));
        let late = Wall(now().0 + 7_200_000);
        let error = operator.sealed_by("evidence", b"all of it", &seal, late).unwrap_err();
        assert!(matches!(error, SealError::Signer(_)), "{error}");
        // Only agents seal, and only of our own installation.
        let by_operator = operator.seal("evidence", b"all of it").unwrap();
        assert!(matches!(altered("evidence", b"all of it", &by_operator), SealError::Signer(_)));
        let other = Authority::create("test", now()).unwrap();
        let foreign = equipped(&other, &dir.path().join("x"), Role::Agent, "p1");
        let foreign = foreign.seal("evidence", b"all of it").unwrap();
        assert!(matches!(altered("evidence", b"all of it", &foreign), SealError::Signer(_)));
        // Another's certificate beside our signature does not fit.
        let mixed = Seal { certificate: by_operator.certificate, ..seal.clone() };
        assert!(matches!(altered("evidence", b"all of it", &mixed), SealError::Signer(_)));
        for wrong in ["", "zz", "0"] {
            let broken = Seal { signature: wrong.into(), ..seal.clone() };
            operator.sealed_by("evidence", b"all of it", &broken, now()).unwrap_err();
        }
        operator.set_revoked([(by.serial, "stolen".to_owned())].into()).unwrap();
        assert!(matches!(altered("evidence", b"all of it", &seal), SealError::Signer(_)));
    }

    #[test]
    fn a_sum_of_pieces_is_the_sum_of_the_whole() {
        let mut sum = Sum::default();
        sum.add(b"al");
        sum.add(b"l of it");
        assert_eq!(sum.hex(), digest::hex(&digest::sha256(b"all of it")));
    }
}
