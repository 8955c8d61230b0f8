//! `token create`: the token alone on stdout, what to do with it on stderr.

use crate::{
    cli::{JoinAs, TokenVerb},
    client::{Client, Repeat},
    end::{End, Failure},
    out::Out,
    render::words,
};
use proto::v1::{CreateTokenReply, CreateTokenRequest};
use std::time::Duration;

pub(crate) async fn run(verb: TokenVerb, client: &mut Client, out: Out) -> Result<End, Failure> {
    let TokenVerb::Create { host, role, valid } = verb;
    let (role, program) = match role {
        JoinAs::Agent => ("agent", "understudy-agent"),
        JoinAs::Coordinator => ("coordinator", "understudy-coordinator"),
        JoinAs::Witness => ("witness", "understudy-coordinator"),
    };
    let config = program.trim_start_matches("understudy-");
    let reply = mint(client, &host, role, valid, out).await?;
    out.talk(&format!(
        "for one use by {role} {host}, until {}\n\
         hint: on {host}, run `{program} enroll --token TOKEN --config /etc/understudy/{config}.toml`",
        words::instant(reply.expires_unix_ms)
    ));
    Ok(End::DONE)
}

/// Makes a token for one use and prints it, alone on stdout.
pub(super) async fn mint(
    client: &mut Client,
    host: &str,
    role: &str,
    valid: Duration,
    out: Out,
) -> Result<CreateTokenReply, Failure> {
    let request = CreateTokenRequest {
        host: host.into(),
        role: role.into(),
        valid_ms: u64::try_from(valid.as_millis()).unwrap_or(u64::MAX),
    };
    // Twice would leave a second token about that nobody has seen.
    let reply = client
        .call(request, Repeat::Never, async |api, request| api.create_token(request).await)
        .await?;
    out.either(&reply, |reply| reply.token.clone())?;
    Ok(reply)
}
