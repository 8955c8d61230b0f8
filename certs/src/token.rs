//! The join token: what an operator carries to a new host. One line that says
//! where to enrol, as what, with which secret, and which authority to expect.
//!
//! Single use and the final word on expiry are the coordinators'; they store
//! the secret's hash alone.

use crate::{
    certificate::certificates,
    digest::{Fingerprint, RandomError, hex, random, sha256},
    identity::{Rank, Role},
};
use base64::{DecodeError, Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use model::{HostId, NameError, Wall};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Every token begins with it; the digit is the form's version.
const PREFIX: &str = "ust1.";

/// Longest token that is read, in bytes. One with eight addresses has about 900.
const TOKEN_MAX: usize = 8192;

/// Most enrolment addresses in a token: more than a pair ever has.
const ADDRESSES_MAX: usize = 8;

/// What the joining host will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinRole {
    /// A host's agent.
    Agent,
    /// A coordinator of the pair.
    Coordinator,
    /// The third voter: to TLS, a coordinator.
    Witness,
    /// A person who may look.
    Viewer,
    /// A person who may fail over, hold, resume and approve.
    Operator,
    /// A person who may do everything.
    Admin,
}

impl JoinRole {
    /// The role that the certificate will carry.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Agent => Role::Agent,
            Self::Coordinator | Self::Witness => Role::Coordinator,
            Self::Viewer => Role::Operator(Rank::Viewer),
            Self::Operator => Role::Operator(Rank::Operator),
            Self::Admin => Role::Operator(Rank::Admin),
        }
    }

    /// As the command line writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Coordinator => "coordinator",
            Self::Witness => "witness",
            Self::Viewer => Rank::Viewer.as_str(),
            Self::Operator => Rank::Operator.as_str(),
            Self::Admin => Rank::Admin.as_str(),
        }
    }
}

impl fmt::Display for JoinRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JoinRole {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        match text {
            "agent" => Ok(Self::Agent),
            "coordinator" => Ok(Self::Coordinator),
            "witness" => Ok(Self::Witness),
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            other => Err(TokenError::Role { given: other.into() }),
        }
    }
}

/// Why a token is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It begins with something else.
    #[error(
        "this is not a join token: it does not begin with `{PREFIX}`; paste the whole line that `coordctl token create` printed"
    )]
    Prefix,
    /// The form is of a later version.
    #[error("this join token is of form `{form}`, made by a newer coordctl; upgrade this program")]
    Version {
        /// The text before the dot.
        form: String,
    },
    /// Too many bytes.
    #[error("this join token has {length} bytes; at most {TOKEN_MAX} are read")]
    TooLong {
        /// How many came.
        length: usize,
    },
    /// Its end is missing.
    #[error(
        "this join token is cut short; paste the whole line that `coordctl token create` printed"
    )]
    Truncated,
    /// A character that does not belong.
    #[error(
        "this join token has the character {found:?} at position {at}, which no token has; paste it again without line breaks or quotes"
    )]
    Character {
        /// The first such character.
        found: char,
        /// Where it stands, from 1.
        at: usize,
    },
    /// The inside is not what it should be.
    #[error("this join token is damaged ({detail}); make a new one with `coordctl token create`")]
    Damaged {
        /// What the parser says.
        detail: String,
    },
    /// Its time is over.
    #[error("this join token expired on {}; make a new one with `coordctl token create --host {host}`", crate::refusal::date(*since))]
    Expired {
        /// When.
        since: Wall,
        /// The host that it was made for.
        host: String,
    },
    /// The role is unknown.
    #[error(
        "`{given}` is not a role to join as; use agent, coordinator or witness, or an operator's rank: viewer, operator, admin"
    )]
    Role {
        /// The text as it came.
        given: String,
    },
    /// The host's name breaks the rules of names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// None or too many addresses to enrol at.
    #[error("a join token needs 1 to {ADDRESSES_MAX} enrolment addresses, not {count}")]
    Addresses {
        /// How many were given.
        count: usize,
    },
    /// The authority that came is not the one that the token pins.
    #[error(
        "the authority that the coordinator sent is not the one that the token pins ({pinned}); nothing was stored"
    )]
    OtherAuthority {
        /// The pinned fingerprint, short.
        pinned: String,
    },
}

/// The inside of a token as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inside {
    id: String,
    secret: String,
    host: String,
    role: JoinRole,
    authority: String,
    addresses: Vec<String>,
    expires_unix_ms: u64,
}

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The token's number, to find it by: 16 hexadecimal digits. No secret.
    pub id: String,
    secret: [u8; 32],
    /// The host that may join with it.
    pub host: HostId,
    /// What it will be.
    pub role: JoinRole,
    /// The authority's fingerprint.
    pub authority: Fingerprint,
    /// Where to enrol, `host:port`, in the order to try.
    pub addresses: Vec<String>,
    /// When it ends.
    pub expires: Wall,
}

impl fmt::Debug for Token {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("host", &self.host)
            .field("role", &self.role)
            .field("authority", &self.authority)
            .field("addresses", &self.addresses)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Makes a token with a fresh id and a fresh 256-bit secret.
    ///
    /// # Errors
    /// No randomness, or no (or more than eight) addresses.
    pub fn create(
        host: HostId,
        role: JoinRole,
        authority: Fingerprint,
        addresses: Vec<String>,
        expires: Wall,
    ) -> Result<Self, TokenError> {
        check_addresses(&addresses)?;
        let (id, secret) = (hex(&random::<8>()?), random()?);
        Ok(Self { id, secret, host, role, authority, addresses, expires })
    }

    /// The secret: to be sent once, over the connection that pins the authority.
    #[must_use]
    pub const fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// SHA-256 of the secret: what the coordinators store. A plain hash will
    /// do, for the secret has 256 random bits.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        sha256(&self.secret)
    }

    /// The one line to carry to the host.
    #[must_use]
    pub fn print(&self) -> String {
        let inside = Inside {
            id: self.id.clone(),
            secret: URL_SAFE_NO_PAD.encode(self.secret),
            host: self.host.as_str().into(),
            role: self.role,
            authority: self.authority.to_string(),
            addresses: self.addresses.clone(),
            expires_unix_ms: self.expires.0,
        };
        // Strings and numbers alone always have a JSON form.
        let json = serde_json::to_vec(&inside).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads a token as pasted; blanks around it do not matter.
    ///
    /// # Errors
    /// [`TokenError`] says what is wrong with it, and what to do.
    pub fn parse(text: &str, now: Wall) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > TOKEN_MAX {
            return Err(TokenError::TooLong { length: text.len() });
        }
        let token = Self::of_inside(inside(text)?)?;
        if token.expires <= now {
            return Err(TokenError::Expired { since: token.expires, host: token.host.into() });
        }
        Ok(token)
    }

    fn of_inside(inside: Inside) -> Result<Self, TokenError> {
        let damaged = |detail: &str| TokenError::Damaged { detail: detail.into() };
        let secret = URL_SAFE_NO_PAD
            .decode(&inside.secret)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| damaged("its secret has not 32 bytes"))?;
        let id_ok = inside.id.len() == 16 && inside.id.chars().all(|c| c.is_ascii_hexdigit());
        if !id_ok {
            return Err(damaged("its id has not 16 hexadecimal digits"));
        }
        check_addresses(&inside.addresses)?;
        Ok(Self {
            id: inside.id,
            secret,
            host: HostId::new(inside.host)?,
            role: inside.role,
            authority: inside.authority.parse().map_err(damaged)?,
            addresses: inside.addresses,
            expires: Wall(inside.expires_unix_ms),
        })
    }

    /// Checks that the authorities that a coordinator sent (PEM) hold the pinned one.
    ///
    /// # Errors
    /// [`TokenError::OtherAuthority`]; nothing of theirs may then be stored.
    pub fn check_authority(&self, authority_pem: &str) -> Result<(), TokenError> {
        let held = certificates(authority_pem).unwrap_or_default();
        if held.iter().any(|der| Fingerprint::of(der) == self.authority) {
            return Ok(());
        }
        Err(TokenError::OtherAuthority { pinned: self.authority.short() })
    }
}

fn check_addresses(addresses: &[String]) -> Result<(), TokenError> {
    match addresses.len() {
        1..=ADDRESSES_MAX => Ok(()),
        count => Err(TokenError::Addresses { count }),
    }
}

fn inside(text: &str) -> Result<Inside, TokenError> {
    let Some(body) = text.strip_prefix(PREFIX) else {
        let form = text.split('.').next().unwrap_or_default();
        let digits = form.strip_prefix("ust").unwrap_or_default();
        if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) && form != "ust1" {
            return Err(TokenError::Version { form: form.chars().take(20).collect() });
        }
        let cut = PREFIX.starts_with(text) && !text.is_empty();
        return Err(if cut { TokenError::Truncated } else { TokenError::Prefix });
    };
    let foreign = body.chars().position(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
    if let Some(at) = foreign {
        let found = body.chars().nth(at).unwrap_or_default();
        return Err(TokenError::Character { found, at: PREFIX.len() + at + 1 });
    }
    let json = URL_SAFE_NO_PAD.decode(body).map_err(|error| match error {
        DecodeError::InvalidLength(_)
        | DecodeError::InvalidLastSymbol(..)
        | DecodeError::InvalidPadding
        | DecodeError::InvalidByte(..) => TokenError::Truncated,
    })?;
    serde_json::from_slice(&json).map_err(|error| {
        if error.is_eof() {
            TokenError::Truncated
        } else {
            TokenError::Damaged { detail: error.to_string() }
        }
    })
}

/// Whether `presented` is the secret with this stored hash. Takes the same
/// time wherever the two differ.
#[must_use]
pub fn secret_matches(presented: &[u8], stored_hash: &[u8; 32]) -> bool {
    let Ok(nonce) = random::<32>() else { return false };
    // The tags are compared in constant time by `verify`, under a key that
    // nobody knows beforehand, so that no timing tells of the hash.
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &nonce);
    let tag = ring::hmac::sign(&key, stored_hash);
    ring::hmac::verify(&key, &sha256(presented), tag.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Wall = Wall(1_800_000_000_000);

    fn token() -> Token {
        Token::create(
            HostId::new("p1").unwrap(),
            JoinRole::Agent,
            Fingerprint::of(b"authority"),
            vec!["192.0.2.1:7444".into(), "192.0.2.2:7444".into()],
            Wall(NOW.0 + 1000),
        )
        .unwrap()
    }

    #[test]
    fn a_token_survives_its_line() {
        let token = token();
        let line = token.print();
        assert!(line.starts_with("ust1.") && !line.contains(char::is_whitespace));
        assert_eq!(Token::parse(&format!("  {line}\n"), NOW).unwrap(), token);
        assert!(secret_matches(token.secret(), &token.secret_hash()));
        assert!(!secret_matches(&[0; 32], &token.secret_hash()));
        assert!(!secret_matches(b"", &token.secret_hash()));
        let debug = format!("{token:?}");
        assert!(!debug.contains("secret") && !debug.contains(&hex(token.secret())));
    }

    #[test]
    fn every_fault_has_its_words() {
        let line = token().print();
        let parse = |text: &str| Token::parse(text, NOW).unwrap_err();
        assert_eq!(parse("hello"), TokenError::Prefix);
        assert_eq!(parse(""), TokenError::Prefix);
        assert_eq!(parse("ust2.abc"), TokenError::Version { form: "ust2".into() });
        assert_eq!(parse("ust1"), TokenError::Truncated);
        assert_eq!(
            parse(&line.replacen("ust1.e", "ust1.é", 1)),
            TokenError::Character { found: 'é', at: 6 }
        );
        assert!(matches!(
            parse(&line.replacen("ust1.", "ust1. ", 1)),
            TokenError::Character { .. }
        ));
        let encode = |json: &str| format!("ust1.{}", URL_SAFE_NO_PAD.encode(json));
        assert!(matches!(parse(&encode("{\"id\":1}")), TokenError::Damaged { .. }));
        assert!(matches!(parse(&encode("[]")), TokenError::Damaged { .. }));
        assert!(matches!(parse(&"x".repeat(9000)), TokenError::TooLong { length: 9000 }));
        let late = Token::parse(&line, Wall(NOW.0 + 1000)).unwrap_err();
        let words = late.to_string();
        assert!(words.contains("2027-01-15T08:00:01Z") && words.contains("--host p1"), "{words}");
    }

    #[test]
    fn every_cut_is_told_as_a_cut() {
        let line = token().print();
        for end in 1..line.len() {
            assert_eq!(Token::parse(&line[..end], NOW), Err(TokenError::Truncated), "at {end}");
        }
    }

    #[test]
    fn damage_inside_is_told() {
        let json =
            String::from_utf8(URL_SAFE_NO_PAD.decode(&token().print()[PREFIX.len()..]).unwrap())
                .unwrap();
        for (from, to) in [
            ("\"host\":\"p1\"", "\"host\":\"../p1\""),
            ("\"role\":\"agent\"", "\"role\":\"king\""),
            ("\"addresses\":[", "\"addresses\":[],\"x\":["),
            ("\"id\":\"", "\"id\":\"zz"),
            ("\"secret\":\"", "\"secret\":\"AAAA"),
            ("\"authority\":\"", "\"authority\":\"00"),
        ] {
            let broken = json.replacen(from, to, 1);
            assert_ne!(broken, json);
            let line = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(broken));
            let error = Token::parse(&line, NOW).unwrap_err();
            assert!(matches!(error, TokenError::Damaged { .. } | TokenError::Name(_)), "{error:?}");
        }
        let none = json.replace("[\"192.0.2.1:7444\",\"192.0.2.2:7444\"]", "[]");
        let line = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(none));
        assert_eq!(Token::parse(&line, NOW), Err(TokenError::Addresses { count: 0 }));
    }

    #[test]
    fn a_sent_authority_must_be_the_pinned_one() {
        let ours = crate::Authority::create("fx", NOW).unwrap();
        let other = crate::Authority::create("fx", NOW).unwrap();
        let mut token = token();
        token.authority = ours.fingerprint();
        token.check_authority(ours.certificate_pem()).unwrap();
        let both = format!("{}{}", other.certificate_pem(), ours.certificate_pem());
        token.check_authority(&both).unwrap();
        assert!(token.check_authority(other.certificate_pem()).is_err());
        assert!(token.check_authority("junk").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = Token::parse(&text, NOW);
            let _ = Token::parse(&format!("ust1.{text}"), NOW);
        }
    }
}
