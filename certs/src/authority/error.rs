//! What can go wrong with the authority, in words with the fix.

use crate::{
    certificate::LeafError, digest::RandomError, request::RequestError, store::StoreError,
};
use model::NameError;
use std::{io, path::PathBuf};

/// Why the authority cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The installation's name breaks the rules of names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The request is not usable.
    #[error("refused a certificate request")]
    Request(#[from] RequestError),
    /// The identity belongs elsewhere.
    #[error(
        "this is the authority of installation `{ours}`; it signs nothing for `{theirs}`; \
         ask a coordinator of `{theirs}`"
    )]
    OtherInstallation {
        /// Ours.
        ours: String,
        /// The identity's.
        theirs: String,
    },
    /// Nothing that is signed now could be valid.
    #[error("the authority of `{installation}` has expired; make a new one with `coordctl init`")]
    Expired {
        /// The installation.
        installation: String,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The certificate could not be made.
    #[error("cannot make the certificate of {whom}")]
    Make {
        /// For whom.
        whom: String,
        /// What the library says.
        #[source]
        source: rcgen::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is one already.
    #[error(
        "{} exists: there is an authority here already, and replacing it would shut out every \
         host; remove the file yourself if that is what you want", path.display()
    )]
    Exists {
        /// The file that is there.
        path: PathBuf,
    },
    /// Others may read the private key.
    #[error("{} may be read by others; run `chmod 600 {}`", path.display(), path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
    },
    /// The certificate file is not usable.
    #[error("{} holds no authority of ours", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: LeafError,
    },
    /// The key file is not usable.
    #[error("{} holds no usable key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The key and the certificates do not belong together.
    #[error(
        "the key {} belongs to no certificate in {}; restore both from the same backup",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// The credentials directory could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
