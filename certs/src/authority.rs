//! The authority of an installation: makes itself once, and signs identities.
//!
//! Of a request it takes the public key alone; name, role, names for TLS,
//! uses and validity come from the caller's [`Identity`]. Whether the holder
//! deserves it (a token, an operator's word) is the caller's to know.

use crate::{
    certificate::{certificates, serial_hex},
    digest::{Fingerprint, RandomError, hex, random, sha256},
    file,
    identity::{Identity, Role, check_name},
    request::{KeyRequest, public_key_of},
    store::{Credentials, Store},
    tls::server_name,
};
use model::Wall;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use std::{fmt, io, path::Path, time::Duration};
use x509_parser::prelude::{FromDer, X509Certificate};

mod error;
pub use error::AuthorityError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an agent's certificate is valid. Long, because renewal is by hand
/// (`understudy-agent enroll`) so far.
pub const AGENT_VALIDITY: Duration = DAY.saturating_mul(90);
/// How long a coordinator's certificate is valid; as an agent's, for the same reason.
pub const COORDINATOR_VALIDITY: Duration = DAY.saturating_mul(90);
/// How long an operator's certificate is valid.
pub const OPERATOR_VALIDITY: Duration = DAY.saturating_mul(365);
/// How long the authority itself is valid: longer than a host lives.
/// `authority.pem` may hold several, so that one can follow another.
pub const AUTHORITY_VALIDITY: Duration = DAY.saturating_mul(3653);

/// How far certificates reach back, so that a clock that is a little behind
/// the authority's does not refuse a fresh one.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// A certificate, just signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate in PEM form.
    pub cert_pem: String,
    /// Its serial number: lower-case hexadecimal without leading zero bytes.
    pub serial: String,
    /// Valid until (never later than the authority itself).
    pub not_after: Wall,
}

/// How long a certificate of this role is valid by default.
#[must_use]
pub const fn validity_of(role: Role) -> Duration {
    match role {
        Role::Agent => AGENT_VALIDITY,
        Role::Coordinator => COORDINATOR_VALIDITY,
        Role::Operator(_) => OPERATOR_VALIDITY,
    }
}

/// The authority of an installation, with its private key.
pub struct Authority {
    installation: String,
    certificate: CertificateDer<'static>,
    pem: String,
    not_after: Wall,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("installation", &self.installation)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// Sets the bounds of a certificate's validity, in whole seconds as X.509 has them.
fn set_validity(params: &mut CertificateParams, now: Wall, until: Wall) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let from = Duration::from_millis(now.0).saturating_sub(SKEW);
    params.not_before = epoch + Duration::from_secs(from.as_secs());
    params.not_after = epoch + Duration::from_secs(until.0 / 1000);
}

fn after(now: Wall, span: Duration) -> Wall {
    let end = Duration::from_millis(now.0).saturating_add(span);
    // Whole seconds; and the year 9999 is where X.509 ends (253402300799).
    Wall(end.as_secs().min(253_402_300_799).saturating_mul(1000))
}

impl Authority {
    /// Makes the authority of an installation: an ECDSA P-256 key and a
    /// certificate that is valid for [`AUTHORITY_VALIDITY`] from `now`.
    ///
    /// # Errors
    /// A name that breaks the rules; no randomness.
    pub fn create(installation: &str, now: Wall) -> Result<Self, AuthorityError> {
        let installation = check_name("installation", installation)?;
        let make = |source| AuthorityError::Make { whom: "the authority".into(), source };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, installation.as_str());
        // The key's digest makes the subject unique: two authorities with one
        // subject would be told apart by a failing signature only.
        let key_id = hex(&sha256(&key.subject_public_key_info())[..8]);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Understudy authority {key_id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        set_validity(&mut params, now, after(now, AUTHORITY_VALIDITY));
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Self {
            installation,
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            not_after: after(now, AUTHORITY_VALIDITY),
            issuer: Issuer::new(params, key),
        })
    }

    /// Reads `authority.pem` and `authority.key` of a directory. When the
    /// former holds several authorities, the one that the key belongs to.
    ///
    /// # Errors
    /// A file that is missing, unreadable, open to others, or not what it should be.
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        let (pem_path, key_path) = (dir.join("authority.pem"), dir.join("authority.key"));
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| AuthorityError::File {
                action: "read",
                path: path.to_path_buf(),
                source,
            })
        };
        let (pem, key_pem) = (read(&pem_path)?, read(&key_path)?);
        if file::open_to_others(&key_path).unwrap_or(true) {
            return Err(AuthorityError::OpenToOthers { path: key_path });
        }
        let key = KeyPair::from_pem(&key_pem)
            .map_err(|source| AuthorityError::Key { path: key_path.clone(), source })?;
        let roots = certificates(&pem)
            .map_err(|source| AuthorityError::Certificate { path: pem_path.clone(), source })?;
        let public = key.subject_public_key_info();
        let found = roots.into_iter().find_map(|root| {
            let facts = facts_of(&root)?;
            (facts.public_key == public).then_some((root, facts))
        });
        let Some((certificate, facts)) = found else {
            return Err(AuthorityError::Mismatch { key: key_path, certificate: pem_path });
        };
        let make = |source| AuthorityError::Make { whom: "the authority".into(), source };
        Ok(Self {
            installation: check_name("installation", &facts.installation)?,
            pem: pem_of(&certificate),
            not_after: facts.not_after,
            issuer: Issuer::from_ca_cert_der(&certificate, key).map_err(make)?,
            certificate,
        })
    }

    /// Writes `authority.pem` and `authority.key` (mode 0600) into a directory,
    /// which is made with mode 0700 when it is not there.
    ///
    /// # Errors
    /// [`AuthorityError::Exists`] when either file is there; it is left as it was.
    pub fn save(&self, dir: &Path) -> Result<(), AuthorityError> {
        let (pem_path, key_path) = (dir.join("authority.pem"), dir.join("authority.key"));
        for path in [&key_path, &pem_path] {
            if path.exists() {
                return Err(AuthorityError::Exists { path: path.clone() });
            }
        }
        let failed = |path: &Path, source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => AuthorityError::Exists { path: path.to_path_buf() },
            _ => AuthorityError::File { action: "write", path: path.to_path_buf(), source },
        };
        file::make_private_dir(dir).map_err(|error| failed(dir, error))?;
        let key = self.issuer.key().serialize_pem();
        file::create(&key_path, key.as_bytes(), file::PRIVATE).map_err(|e| failed(&key_path, e))?;
        file::create(&pem_path, self.pem.as_bytes(), file::PUBLIC)
            .map_err(|error| failed(&pem_path, error))
    }

    /// The installation it speaks for.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// Its certificate in PEM form.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of its certificate: what a token pins.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Signs a certificate for `identity` and the key of the request, valid
    /// from five minutes before `now` for `validity` after it.
    ///
    /// # Errors
    /// A request that is not signed with its own P-256 key, an identity of
    /// another installation, an authority that has expired.
    pub fn issue(
        &self,
        csr_der: &[u8],
        identity: &Identity,
        validity: Duration,
        now: Wall,
    ) -> Result<Issued, AuthorityError> {
        if identity.installation() != self.installation {
            return Err(AuthorityError::OtherInstallation {
                ours: self.installation.clone(),
                theirs: identity.installation().into(),
            });
        }
        if now >= self.not_after {
            return Err(AuthorityError::Expired { installation: self.installation.clone() });
        }
        let public_key = public_key_of(csr_der)?;
        let make = |source| AuthorityError::Make { whom: identity.to_string(), source };
        let key = SubjectPublicKeyInfo::from_der(&public_key).map_err(make)?;
        let not_after = after(now, validity).min(self.not_after);
        let serial = serial()?;
        let mut params = leaf_params(identity).map_err(make)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        set_validity(&mut params, now, not_after);
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(Issued { cert_pem: certificate.pem(), serial: serial_hex(&serial), not_after })
    }

    /// Makes a key and a certificate for `identity` and stores both, with this
    /// authority as the trusted one, as the credentials directory `dir`: how
    /// the first coordinator and the first operator get theirs.
    ///
    /// # Errors
    /// As [`Authority::issue`], or the directory cannot be written.
    pub fn equip(
        &self,
        dir: &Path,
        identity: &Identity,
        validity: Duration,
        now: Wall,
    ) -> Result<Issued, AuthorityError> {
        let request = KeyRequest::generate()?;
        let issued = self.issue(request.csr_der(), identity, validity, now)?;
        Store::at(dir).save(&Credentials {
            authority_pem: self.pem.clone(),
            identity_pem: issued.cert_pem.clone(),
            key_pem: request.key_pem(),
        })?;
        Ok(issued)
    }
}

/// 128 random bits, never zero in the first byte so that the length is fixed.
fn serial() -> Result<[u8; 16], RandomError> {
    let mut bytes: [u8; 16] = random()?;
    bytes[0] = bytes[0].max(1);
    Ok(bytes)
}

fn leaf_params(identity: &Identity) -> Result<CertificateParams, rcgen::Error> {
    let role = identity.role();
    let mut params = CertificateParams::new(vec![server_name(role.kind()).to_owned()])?;
    params.subject_alt_names.push(SanType::URI(identity.uri().try_into()?));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, identity.installation());
    params.distinguished_name.push(DnType::CommonName, identity.name());
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match role {
        // Coordinators are dialled, and dial each other; so do agents, for their
        // promises. Whoever dials asks for a role, which the names here tell.
        Role::Coordinator | Role::Agent => {
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth]
        }
        Role::Operator(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    Ok(params)
}

struct AuthorityFacts {
    installation: String,
    public_key: Vec<u8>,
    not_after: Wall,
}

fn facts_of(der: &[u8]) -> Option<AuthorityFacts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let installation = certificate.subject().iter_organization().next()?.as_str().ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(AuthorityFacts {
        installation: installation.to_owned(),
        public_key: certificate.public_key().raw.to_vec(),
        not_after: Wall(seconds.saturating_mul(1000)),
    })
}

/// PEM with lines of 64 characters (RFC 7468).
fn pem_of(der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (at, c) in STANDARD.encode(der).chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests;
