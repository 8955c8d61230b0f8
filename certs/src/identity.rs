//! Who a certificate speaks for: installation, role and name, as one SAN URI.
//!
//! The URI is the only carrier of identity; the subject and the DNS names of
//! a certificate are never read for it. A certificate with no URI, or with
//! two, speaks for nobody.

use model::{HostId, NameError};
use std::{fmt, str::FromStr};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The scheme of the identity URI.
const SCHEME: &str = "understudy://";

/// What an operator may do; each rank may do what the ranks before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// May look.
    Viewer,
    /// May fail over, hold, resume and apply.
    Operator,
    /// May also make tokens, revoke, and change the membership.
    Admin,
}

impl Rank {
    /// As the URI and the configuration write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Rank {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            other => Err(IdentityError::Rank { given: other.into() }),
        }
    }
}

/// What the holder of a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The agent of a host.
    Agent,
    /// A coordinator of the pair, or the witness.
    Coordinator,
    /// A person, with a rank.
    Operator(Rank),
}

/// A role without its rank: what a dialler expects at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// The agent of a host.
    Agent,
    /// A coordinator of the pair, or the witness.
    Coordinator,
    /// A person.
    Operator,
}

impl Role {
    /// The role without its rank.
    #[must_use]
    pub const fn kind(self) -> RoleKind {
        match self {
            Self::Agent => RoleKind::Agent,
            Self::Coordinator => RoleKind::Coordinator,
            Self::Operator(_) => RoleKind::Operator,
        }
    }
}

impl RoleKind {
    /// As the URI and the DNS name write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Coordinator => "coordinator",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a certificate, or a URI, names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The bytes are not a certificate.
    #[error("the certificate is not well-formed DER")]
    Malformed,
    /// The certificate has no SAN URI.
    #[error("the certificate has no identity: no URI among its alternative names")]
    Missing,
    /// The certificate has more than one SAN URI.
    #[error("the certificate is ambiguous: it has {count} URIs among its alternative names")]
    Ambiguous {
        /// How many there are.
        count: usize,
    },
    /// The URI is of another form.
    #[error(
        "`{uri}` is not an identity; expected {SCHEME}INSTALLATION/agent/NAME, \
         .../coordinator/NAME or .../operator/RANK/NAME"
    )]
    Form {
        /// The URI as it came, cut to 200 characters.
        uri: String,
    },
    /// The rank is unknown.
    #[error("`{given}` is not a rank; use viewer, operator or admin")]
    Rank {
        /// The text as it came.
        given: String,
    },
    /// The installation's or the holder's name breaks the rules of names.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Who a certificate speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    installation: String,
    role: Role,
    name: String,
}

/// A name under the same rules as every other name of ours.
pub(crate) fn check_name(kind: &'static str, text: &str) -> Result<String, NameError> {
    let relabel = |error| match error {
        NameError::Empty { .. } => NameError::Empty { kind },
        NameError::TooLong { given, length, .. } => NameError::TooLong { kind, given, length },
        NameError::Character { given, found, .. } => NameError::Character { kind, given, found },
    };
    HostId::new(text).map(String::from).map_err(relabel)
}

impl Identity {
    /// An identity, with both names checked.
    ///
    /// # Errors
    /// [`IdentityError::Name`] says which name breaks which rule.
    pub fn new(installation: &str, role: Role, name: &str) -> Result<Self, IdentityError> {
        Ok(Self {
            installation: check_name("installation", installation)?,
            role,
            name: check_name(role.kind().as_str(), name)?,
        })
    }

    /// The installation it belongs to.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// The role, with the rank of an operator.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The host's, the coordinator's or the operator's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The SAN URI.
    #[must_use]
    pub fn uri(&self) -> String {
        let Self { installation, role, name } = self;
        match role {
            Role::Agent | Role::Coordinator => {
                format!("{SCHEME}{installation}/{}/{name}", role.kind())
            }
            Role::Operator(rank) => format!("{SCHEME}{installation}/operator/{rank}/{name}"),
        }
    }

    /// Reads the SAN URI.
    ///
    /// # Errors
    /// Another form, an unknown rank, or a name that breaks the rules.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form { uri: uri.chars().take(200).collect() };
        let rest = uri.strip_prefix(SCHEME).ok_or_else(form)?;
        // One more part than the longest form, so that a longer one is seen.
        let parts: Vec<&str> = rest.splitn(5, '/').collect();
        match parts.as_slice() {
            [installation, "agent", name] => Self::new(installation, Role::Agent, name),
            [installation, "coordinator", name] => Self::new(installation, Role::Coordinator, name),
            [installation, "operator", rank, name] => {
                Self::new(installation, Role::Operator(rank.parse()?), name)
            }
            _ => Err(form()),
        }
    }

    /// Reads the identity of a certificate in DER form. Verifies nothing else.
    ///
    /// # Errors
    /// Not a certificate, not exactly one SAN URI, or a URI of another form.
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::Malformed)?;
        if !rest.is_empty() {
            return Err(IdentityError::Malformed);
        }
        Self::of_parsed(&certificate)
    }

    pub(crate) fn of_parsed(certificate: &X509Certificate<'_>) -> Result<Self, IdentityError> {
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::Malformed)?
            .ok_or(IdentityError::Missing)?;
        let uris: Vec<&str> = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        match uris.as_slice() {
            [] => Err(IdentityError::Missing),
            [uri] => Self::parse(uri),
            several => Err(IdentityError::Ambiguous { count: several.len() }),
        }
    }
}

impl fmt::Display for Identity {
    /// As a person says it: ``agent `p1` ``, ``operator `ann` (admin)``.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.role.kind(), self.name)?;
        match self.role {
            Role::Agent | Role::Coordinator => Ok(()),
            Role::Operator(rank) => write!(f, " ({rank})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn role() -> impl Strategy<Value = Role> {
        prop_oneof![
            Just(Role::Agent),
            Just(Role::Coordinator),
            prop_oneof![Just(Rank::Viewer), Just(Rank::Operator), Just(Rank::Admin)]
                .prop_map(Role::Operator),
        ]
    }

    proptest! {
        #[test]
        fn an_identity_survives_its_uri(
            installation in "[a-z0-9][a-z0-9._-]{0,62}", role in role(), name in "[a-z0-9][a-z0-9._-]{0,62}"
        ) {
            let identity = Identity::new(&installation, role, &name).unwrap();
            prop_assert_eq!(Identity::parse(&identity.uri()).unwrap(), identity);
        }

        #[test]
        fn no_text_panics_and_what_parses_is_canonical(text in "\\PC*") {
            for uri in [text.clone(), format!("{SCHEME}{text}"), format!("{SCHEME}x/agent/{text}")] {
                if let Ok(identity) = Identity::parse(&uri) {
                    prop_assert_eq!(identity.uri(), uri);
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Identity::of_certificate(&bytes);
        }
    }

    #[test]
    fn other_forms_are_refused_in_words() {
        for bad in [
            "understudy://fx/agent/",
            "understudy://fx/agent/p1/x",
            "understudy://fx/operator/root/ann",
            "understudy://fx/operator/ann",
            "understudy://fx/Agent/p1",
            "understudy:///agent/p1",
            "spiffe://fx/agent/p1",
            "understudy://fx/agent/p1?x=1",
            "understudy://fx/operator/admin/ann/x/y",
        ] {
            assert!(Identity::parse(bad).is_err(), "{bad} was accepted");
        }
        let words = Identity::parse("understudy://fx/operator/root/ann").unwrap_err().to_string();
        assert!(words.contains("`root`") && words.contains("admin"), "{words}");
        let words = Identity::parse("understudy://a b/agent/p1").unwrap_err().to_string();
        assert!(words.contains("installation"), "{words}");
    }

    #[test]
    fn ranks_are_ordered() {
        assert!(Rank::Viewer < Rank::Operator && Rank::Operator < Rank::Admin);
    }
}
