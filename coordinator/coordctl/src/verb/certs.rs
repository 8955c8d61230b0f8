//! `certs list|revoke`.

use crate::{
    cli::CertsVerb,
    client::{Client, Repeat},
    end::{End, Failure},
    out::Out,
    render,
};
use proto::v1::{ListCertificatesRequest, RevokeCertificateRequest};
use serde::Serialize;

/// What `certs revoke --json` prints.
#[derive(Serialize)]
struct Revoked {
    revoked: String,
    reason: String,
}

pub(crate) async fn run(verb: CertsVerb, client: &mut Client, out: Out) -> Result<End, Failure> {
    match verb {
        CertsVerb::List => {
            let reply = client
                .call(ListCertificatesRequest {}, Repeat::Safe, async |api, request| {
                    api.list_certificates(request).await
                })
                .await?;
            out.either(&reply, |reply| {
                render::list::certificates(&reply.certificates, out.into())
            })?;
        }
        CertsVerb::Revoke { serial, reason } => {
            let serial = certs::normalise_serial(&serial).ok_or_else(|| {
                Failure::usage(format!("`{serial}` is no serial number"))
                    .hint("copy it from `coordctl certs list`")
            })?;
            let revoked = Revoked { revoked: serial, reason };
            let request = RevokeCertificateRequest {
                serial: revoked.revoked.clone(),
                reason: revoked.reason.clone(),
            };
            let reply = client
                .call(request, Repeat::Safe, async |api, request| {
                    api.revoke_certificate(request).await
                })
                .await?;
            out.either(&revoked, |revoked| {
                format!("{} is revoked; every coordinator refuses it from now on", revoked.revoked)
            })?;
            if reply.unknown {
                out.talk(
                    "no certificate of this serial is known here: unless it was made elsewhere, \
                     this is a slip\nhint: compare with `coordctl certs list`",
                );
            }
        }
    }
    Ok(End::DONE)
}
