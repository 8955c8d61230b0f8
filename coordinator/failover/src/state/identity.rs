//! Tokens and certificates into the state.

use super::{Applied, Certificate, State, Token, apply::ignored};
use crate::record::Record;
use alloc::format;

impl State {
    pub(super) fn apply_token_created(&mut self, record: &Record) -> Applied {
        let Record::TokenCreated { token, secret_sha256, host, role, expires, at, .. } = record
        else {
            return ignored("not a token");
        };
        self.tokens.retain(|_, token| token.expires > *at);
        if self.tokens.contains_key(token) {
            return ignored(format!("token {token} exists"));
        }
        self.tokens.insert(
            token.clone(),
            Token {
                secret_sha256: secret_sha256.clone(),
                host: host.clone(),
                role: role.clone(),
                expires: *expires,
                redeemed_by: None,
            },
        );
        Applied::Done
    }

    pub(super) fn apply_certificate_noted(&mut self, record: &Record) -> Applied {
        let Record::CertificateNoted { serial, identity, issued, not_after, .. } = record else {
            return ignored("not a certificate");
        };
        let (identity, issued, not_after) = (identity.clone(), *issued, *not_after);
        self.certificates.insert(serial.clone(), Certificate { identity, issued, not_after });
        Applied::Done
    }

    pub(super) fn apply_token_redeemed(&mut self, record: &Record) -> Applied {
        let Record::TokenRedeemed { token, key_sha256, serial, identity, not_after, at } = record
        else {
            return ignored("not a redemption");
        };
        let Some(known) = self.tokens.get_mut(token) else {
            return ignored("this token is unknown or has expired; ask for a new one");
        };
        if known.expires <= *at {
            return ignored("this token has expired; ask for a new one");
        }
        match &known.redeemed_by {
            // The same key again: the answer was lost, or the host repairs itself.
            Some(key) if key == key_sha256 => {}
            Some(_) => {
                return ignored(
                    "this token was already used by another key; ask for a new one, and find out \
                     who used it if it was not you",
                );
            }
            None => known.redeemed_by = Some(key_sha256.clone()),
        }
        self.certificates.retain(|_, certificate| certificate.not_after > *at);
        let certificates = &self.certificates;
        self.revoked.retain(|serial, _| certificates.contains_key(serial));
        self.certificates.insert(
            serial.clone(),
            Certificate { identity: identity.clone(), issued: *at, not_after: *not_after },
        );
        Applied::Done
    }
}
