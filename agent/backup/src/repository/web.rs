//! What S3 and REST have in common: an HTTP client with the authority that
//! agent.toml names, and files with what must not be told.

use super::remote::RemoteError;
use rustix::fs::Mode;
use std::{fs, io::Read, os::unix::fs::MetadataExt, path::Path, time::Duration};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest pause within an answer.
const PAUSE: Duration = Duration::from_secs(30);
/// The longest of these files.
const FILE_MAX: u64 = 64 * 1024;

/// A client; `ca` is the only authority that it trusts, where one is given.
pub(super) fn client(ca: Option<&Path>) -> Result<reqwest::Client, RemoteError> {
    // A redirection would carry the credentials elsewhere.
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(PAUSE);
    if let Some(ca) = ca {
        let failed = |error: &dyn std::fmt::Display| {
            RemoteError(format!("ca_file {}: {error}", ca.display()))
        };
        let pem = fs::read(ca).map_err(|error| failed(&error))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| failed(&error))?;
        if certificates.is_empty() {
            return Err(failed(&"it holds no certificate in PEM"));
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| RemoteError(format!("the HTTP client: {error}")))
}

/// The text of a file that others may not read.
pub(super) fn secret(field: &str, path: &Path) -> Result<String, RemoteError> {
    let failed = |words: String| RemoteError(format!("{field} {}: {words}", path.display()));
    let mut file = fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let meta = file.metadata().map_err(|error| failed(error.to_string()))?;
    if Mode::from_raw_mode(meta.mode()).intersects(Mode::RWXG | Mode::RWXO) {
        return Err(failed(format!("others may read it; run `chmod 600 {}`", path.display())));
    }
    let mut text = String::new();
    let read = (&mut file).take(FILE_MAX).read_to_string(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    Ok(text)
}
