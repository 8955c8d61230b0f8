//! Refusals in words: ours of them, and theirs of us as told by a TLS alert.
//!
//! Each of ours has the alert that tells the other side the same thing as
//! nearly as TLS can: see [`Refusal::to_tls`].

use crate::identity::{Identity, IdentityError, RoleKind};
use model::Wall;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::{error::Error as StdError, io};

/// A wall-clock instant as people read it, in UTC, to the second.
pub(crate) fn date(at: Wall) -> String {
    i64::try_from(at.0 / 1000)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{} s after 1970", at.0 / 1000), |stamp| stamp.to_string())
}

/// Why this side refuses the other's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It presented none.
    #[error("it presented no certificate")]
    NoCertificate,
    /// Its time is over.
    #[error("its certificate expired {} ago, on {}", .now.since(*.since), date(*.since))]
    Expired {
        /// When it ended.
        since: Wall,
        /// When it was looked at, by this machine's clock.
        now: Wall,
    },
    /// Its time has not begun.
    #[error("its certificate is valid only from {}; compare the clocks of both machines", date(*.from))]
    NotYetValid {
        /// When it begins.
        from: Wall,
    },
    /// Signed by somebody else.
    #[error("its certificate is of an authority that this installation does not trust")]
    ForeignAuthority,
    /// Signed by somebody else than the join token says.
    #[error(
        "it presented no authority with the fingerprint {pinned} that the join token pins: the \
         token is of another installation, or somebody is in between"
    )]
    NotPinned {
        /// The pinned fingerprint, short.
        pinned: String,
    },
    /// Of another installation.
    #[error("it belongs to installation `{theirs}`, and this is `{ours}`")]
    ForeignInstallation {
        /// Theirs.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// Revoked by an operator.
    #[error("its certificate {serial} was revoked: {reason}")]
    Revoked {
        /// Its serial number.
        serial: String,
        /// The operator's words.
        reason: String,
    },
    /// Of another role than the one that belongs at this end.
    #[error("{found} answers where {} {expected} belongs", article(*.expected))]
    WrongRole {
        /// The role that belongs there.
        expected: RoleKind,
        /// Who it is.
        found: String,
    },
    /// Of the right role, and from before such hosts could be dialled.
    #[error(
        "the certificate of {found} does not let it be dialled: it is from before agents asked \
         each other for promises; enrol that host again (`coordctl token create`, then \
         `understudy-agent enroll`)"
    )]
    Undiallable {
        /// Who it is.
        found: String,
    },
    /// Of the right role, but somebody else.
    #[error("{found} answers where `{expected}` belongs")]
    WrongName {
        /// The name that belongs there.
        expected: String,
        /// Who it is.
        found: String,
    },
    /// It names nobody.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A joining host's certificate that is not self-signed with a P-256 key.
    #[error(
        "a joining host presents a certificate that its own key signed; this one is not: {detail}"
    )]
    NotSelfSigned {
        /// What is wrong with it.
        detail: String,
    },
    /// Anything else that the verifier of chains found.
    #[error("its certificate is not acceptable: {detail}")]
    Other {
        /// What the library says.
        detail: String,
    },
}

const fn article(role: RoleKind) -> &'static str {
    match role {
        RoleKind::Coordinator => "a",
        RoleKind::Agent | RoleKind::Operator => "an",
    }
}

impl Refusal {
    /// What the verifier of chains found, as one of ours.
    pub(crate) fn of_tls(error: &TlsError, whose: Option<&Identity>, wanted: RoleKind) -> Self {
        let TlsError::InvalidCertificate(fault) = error else {
            return match error {
                TlsError::NoCertificatesPresented => Self::NoCertificate,
                other => Self::Other { detail: other.to_string() },
            };
        };
        let wall = |time: &rustls::pki_types::UnixTime| Wall(time.as_secs().saturating_mul(1000));
        match fault {
            CertificateError::ExpiredContext { time, not_after } => {
                Self::Expired { since: wall(not_after), now: wall(time) }
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYetValid { from: wall(not_before) }
            }
            // Two authorities with one subject differ in the signature alone.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::ForeignAuthority
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }
                if whose.is_some_and(|whose| {
                    whose.role().kind() == wanted && wanted == RoleKind::Agent
                }) =>
            {
                Self::Undiallable { found: whose.map_or_else(String::new, ToString::to_string) }
            }
            CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. }
            | CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. } => Self::WrongRole {
                expected: wanted,
                found: whose.map_or_else(|| "somebody".into(), ToString::to_string),
            },
            other => Self::Other { detail: other.to_string() },
        }
    }

    /// The error that makes rustls send the alert that fits.
    pub(crate) fn to_tls(&self) -> TlsError {
        match self {
            Self::NoCertificate => TlsError::NoCertificatesPresented,
            Self::Expired { .. } => CertificateError::Expired.into(),
            Self::NotYetValid { .. } => CertificateError::NotValidYet.into(),
            Self::ForeignAuthority | Self::NotPinned { .. } => {
                CertificateError::UnknownIssuer.into()
            }
            Self::Revoked { .. } => CertificateError::Revoked.into(),
            Self::ForeignInstallation { .. }
            | Self::WrongRole { .. }
            | Self::Undiallable { .. }
            | Self::WrongName { .. } => CertificateError::ApplicationVerificationFailure.into(),
            Self::Identity(_) | Self::NotSelfSigned { .. } | Self::Other { .. } => {
                CertificateError::BadEncoding.into()
            }
        }
    }
}

/// Why the other side refused us, as its TLS alert tells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `certificate_expired`.
    #[error("it has expired, or is not valid yet by their clock")]
    Expired,
    /// `unknown_ca`.
    #[error("it is of an authority that they do not trust")]
    UnknownAuthority,
    /// `certificate_revoked`.
    #[error("it was revoked")]
    Revoked,
    /// `access_denied`.
    #[error("it is of another installation, or of a role or a name that does not belong there")]
    NotAllowed,
    /// `certificate_required`.
    #[error("they demand a client certificate, and none was presented")]
    NoCertificate,
    /// `bad_certificate`, `unsupported_certificate` and the like.
    #[error("they cannot use it: it names nobody, or its form is wrong")]
    Unusable,
    /// `no_application_protocol`, `protocol_version`, and the like: it is not about the certificate.
    #[error("they do not speak our protocol there (TLS alert {alert}); is the port right?")]
    Protocol {
        /// The alert's name.
        alert: String,
    },
}

impl Refused {
    /// The alert in words; nothing for the polite goodbye.
    pub(crate) fn of_alert(alert: AlertDescription) -> Option<Self> {
        Some(match alert {
            AlertDescription::CloseNotify | AlertDescription::UserCanceled => return None,
            AlertDescription::CertificateExpired => Self::Expired,
            AlertDescription::UnknownCA => Self::UnknownAuthority,
            AlertDescription::CertificateRevoked => Self::Revoked,
            AlertDescription::AccessDenied => Self::NotAllowed,
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                Self::NoCertificate
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError => Self::Unusable,
            other => Self::Protocol { alert: format!("{other:?}") },
        })
    }

    /// The refusal that an error's chain tells of, if one does.
    #[must_use]
    pub fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
        chain(error).find_map(|link| match link.downcast_ref::<TlsError>() {
            Some(TlsError::AlertReceived(alert)) => Self::of_alert(*alert),
            Some(_) | None => None,
        })
    }
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    }
}

/// An error and what caused it. Unlike `source` alone this also sees the error
/// inside of an `io::Error`, where TLS puts its own.
pub(crate) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    // 32 is far above any real chain; a cycle would otherwise never end.
    std::iter::successors(Some(error), |link| cause(*link)).take(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_well() {
        let expired =
            Refusal::Expired { since: Wall(1_800_000_000_000), now: Wall(1_800_003_660_000) };
        assert_eq!(
            expired.to_string(),
            "its certificate expired 1 h 1 min ago, on 2027-01-15T08:00:00Z"
        );
        let role =
            Refusal::WrongRole { expected: RoleKind::Coordinator, found: "agent `p1`".into() };
        assert_eq!(role.to_string(), "agent `p1` answers where a coordinator belongs");
        assert_eq!(date(Wall(u64::MAX)), format!("{} s after 1970", u64::MAX / 1000));
    }

    #[test]
    fn an_agent_enrolled_before_agents_were_dialled_is_told_to_enrol_again() {
        let agent = Identity::new("bench", crate::Role::Agent, "p2").unwrap();
        let purpose = TlsError::from(CertificateError::InvalidPurpose);
        let refusal = |wanted| Refusal::of_tls(&purpose, Some(&agent), wanted);
        let words = refusal(RoleKind::Agent).to_string();
        assert!(words.contains("agent `p2`") && words.contains("enrol that host again"), "{words}");
        assert!(matches!(refusal(RoleKind::Coordinator), Refusal::WrongRole { .. }));
        assert!(matches!(
            Refusal::of_tls(&purpose, None, RoleKind::Agent),
            Refusal::WrongRole { .. }
        ));
    }

    #[test]
    fn an_alert_is_found_however_deep() {
        let alert = TlsError::AlertReceived(AlertDescription::CertificateRevoked);
        let deep = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, alert));
        assert_eq!(Refused::find(&deep), Some(Refused::Revoked));
        assert_eq!(Refused::find(&io::Error::other("x")), None);
        let close = TlsError::AlertReceived(AlertDescription::CloseNotify);
        assert_eq!(Refused::find(&close), None);
    }
}
