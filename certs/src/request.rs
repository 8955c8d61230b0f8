//! A key and the request for its certificate. The key is made here and never
//! leaves the machine; of a request the authority takes the public key alone.
//!
//! Invariant: keys are ECDSA P-256, and nothing else is accepted.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::CertificateDer;
use std::fmt;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// How SubjectPublicKeyInfo of a P-256 key begins in DER (RFC 5480); the
/// uncompressed point of 65 bytes follows.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Largest request that is looked at, in bytes. Ours has about 250.
const REQUEST_MAX: usize = 4096;

/// Why a request, or its key, is not usable.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The key or the request could not be made.
    #[error("cannot make a key and its certificate request")]
    Make(#[source] rcgen::Error),
    /// The key file holds something else.
    #[error("this is not an ECDSA P-256 private key in PEM form (PKCS#8)")]
    Key(#[source] rcgen::Error),
    /// The key is of another algorithm.
    #[error("the key is not ECDSA P-256; make it with the `enroll` command of the program")]
    Algorithm,
    /// Too many bytes.
    #[error("the certificate request has {length} bytes; at most {REQUEST_MAX} are read")]
    TooLong {
        /// How many came.
        length: usize,
    },
    /// Not a request.
    #[error("the certificate request is not well-formed DER (PKCS#10)")]
    Malformed,
    /// The sender does not hold the key.
    #[error("the certificate request is not signed with its own key")]
    Signature,
}

/// A new key with its certificate request.
pub struct KeyRequest {
    key: KeyPair,
    csr: Vec<u8>,
}

impl fmt::Debug for KeyRequest {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest").finish_non_exhaustive()
    }
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // The authority ignores it; it is there for people who look at the file.
    params.distinguished_name.push(DnType::CommonName, "understudy");
    params
}

impl KeyRequest {
    /// Makes a key.
    ///
    /// # Errors
    /// [`RequestError::Make`]: no randomness, in practice.
    pub fn generate() -> Result<Self, RequestError> {
        Self::of_key(KeyPair::generate().map_err(RequestError::Make)?)
    }

    /// The request for a key that is already there.
    ///
    /// # Errors
    /// The text is not a P-256 key in PEM form.
    pub fn from_key_pem(pem: &str) -> Result<Self, RequestError> {
        Self::of_key(KeyPair::from_pem(pem).map_err(RequestError::Key)?)
    }

    fn of_key(key: KeyPair) -> Result<Self, RequestError> {
        let csr = params().serialize_request(&key).map_err(RequestError::Make)?.der().to_vec();
        let request = Self { key, csr };
        point(&request.public_key())?;
        Ok(request)
    }

    /// The private key in PEM form. For the credentials directory only.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn key_der(&self) -> &[u8] {
        self.key.serialized_der()
    }

    /// The certificate request, to be sent.
    #[must_use]
    pub fn csr_der(&self) -> &[u8] {
        &self.csr
    }

    /// The public key: SubjectPublicKeyInfo in DER form.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    /// A self-signed certificate of this key: what a joining host presents,
    /// so that enrolment has client certificates too.
    pub(crate) fn self_signed(&self) -> Result<CertificateDer<'static>, RequestError> {
        let certificate = params().self_signed(&self.key).map_err(RequestError::Make)?;
        Ok(certificate.der().clone())
    }
}

/// The point of a P-256 public key, or why it is none.
pub(crate) fn point(spki: &[u8]) -> Result<&[u8], RequestError> {
    match spki.strip_prefix(&P256_PREFIX) {
        // 0x04 marks the uncompressed form, the only one that is made here.
        Some(point) if point.len() == 65 && point.first() == Some(&4) => Ok(point),
        Some(_) | None => Err(RequestError::Algorithm),
    }
}

/// Whether `signature` over `message` was made with the key `spki` (P-256, SHA-256).
pub(crate) fn check_signature(
    spki: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), RequestError> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point(spki)?)
        .verify(message, signature)
        .map_err(|_| RequestError::Signature)
}

/// The public key of a certificate request (SubjectPublicKeyInfo in DER form),
/// once its own signature is checked. Everything else in the request is ignored.
///
/// # Errors
/// Too long, not a request, not P-256, or not signed with its own key.
pub fn public_key_of(csr_der: &[u8]) -> Result<Vec<u8>, RequestError> {
    if csr_der.len() > REQUEST_MAX {
        return Err(RequestError::TooLong { length: csr_der.len() });
    }
    let (rest, csr) =
        X509CertificationRequest::from_der(csr_der).map_err(|_| RequestError::Malformed)?;
    if !rest.is_empty() {
        return Err(RequestError::Malformed);
    }
    let info = &csr.certification_request_info;
    let spki = info.subject_pki.raw;
    check_signature(spki, info.raw, &csr.signature_value.data)?;
    Ok(spki.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_proves_its_key() {
        let request = KeyRequest::generate().unwrap();
        assert_eq!(public_key_of(request.csr_der()).unwrap(), request.public_key());
        let again = KeyRequest::from_key_pem(&request.key_pem()).unwrap();
        assert_eq!(again.public_key(), request.public_key());
        assert!(!format!("{request:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_request_with_another_key_is_refused() {
        let (mine, other) = (KeyRequest::generate().unwrap(), KeyRequest::generate().unwrap());
        let mut forged = mine.csr_der().to_vec();
        let key = other.public_key();
        let at = forged.windows(26).position(|w| w == P256_PREFIX).unwrap();
        forged[at..at + key.len()].copy_from_slice(&key);
        assert!(matches!(public_key_of(&forged), Err(RequestError::Signature)));
        let mut longer = mine.csr_der().to_vec();
        longer.push(0);
        assert!(matches!(public_key_of(&longer), Err(RequestError::Malformed)));
        assert!(matches!(public_key_of(&[0; 5000]), Err(RequestError::TooLong { length: 5000 })));
    }

    #[test]
    fn only_p256_is_accepted() {
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let csr = params().serialize_request(&p384).unwrap();
        assert!(matches!(public_key_of(csr.der()), Err(RequestError::Algorithm)));
        assert!(matches!(
            KeyRequest::from_key_pem(&p384.serialize_pem()),
            Err(RequestError::Algorithm)
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(public_key_of(&bytes).is_err());
        }
    }
}
