//! One connection to one coordinator, and a failure to get one in words.

use super::{ANSWER_MAX_BYTES, Api};
use crate::end::Failure;
use certs::{ConnectError, Expected, Link, Refused, Trust};
use std::{path::Path, time::Duration};
use tonic::Status;

/// How long a dial may take before another coordinator is more promising.
const DIAL: Duration = Duration::from_secs(2);

/// Why a coordinator could not be dialled.
#[derive(Debug)]
pub(super) struct Refusal {
    /// For a person.
    pub(super) words: String,
    /// One of the two does not trust the other: dialling again changes nothing.
    pub(super) for_good: bool,
}

/// The operator's credentials.
#[derive(Debug, Clone)]
pub(super) struct Dialler {
    trust: Trust,
}

impl Dialler {
    /// With the credentials in this directory.
    pub(super) fn load(dir: &Path) -> Result<Self, Failure> {
        let trust = Trust::load(dir).map_err(|error| {
            Failure::usage(format!("the context {} is not usable: {}", dir.display(), certs::explain(&error)))
                .hint("copy the operator's whole context directory again, or name another with --context DIR")
        })?;
        Ok(Self { trust })
    }

    /// Dials; only a coordinator is accepted at the other end.
    pub(super) async fn dial(&self, address: &str) -> Result<Api, Refusal> {
        let link = Link { connect: DIAL, ..Link::default() };
        let channel = certs::connect(&self.trust, address, &Expected::coordinator(), &link).await;
        match channel {
            Ok(channel) => Ok(Api::new(channel).max_decoding_message_size(ANSWER_MAX_BYTES)),
            Err(error) => {
                Err(Refusal { words: certs::explain(&error), for_good: is_for_good(&error) })
            }
        }
    }
}

fn is_for_good(error: &ConnectError) -> bool {
    match error {
        ConnectError::WeRefused { .. } | ConnectError::Config { .. } => true,
        ConnectError::TheyRefused { refused, .. } => match refused {
            Refused::Expired
            | Refused::UnknownAuthority
            | Refused::Revoked
            | Refused::NotAllowed
            | Refused::NoCertificate
            | Refused::Unusable => true,
            Refused::Protocol { .. } => false,
        },
        ConnectError::All(each) => each.iter().all(is_for_good),
        ConnectError::Address { .. }
        | ConnectError::Tcp { .. }
        | ConnectError::Slow { .. }
        | ConnectError::Closed { .. }
        | ConnectError::Tls { .. }
        | ConnectError::Http2 { .. } => false,
    }
}

/// A failed call in words.
pub(super) fn words(status: &Status) -> String {
    match certs::explain_status(status) {
        words if words.is_empty() => format!("the call failed ({:?})", status.code()),
        words => words,
    }
}
