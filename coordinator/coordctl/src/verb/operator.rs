//! More operators: `operator add` makes a token, and `enroll` turns it into a
//! context of its own, on the new operator's own machine. The key never leaves it.

use super::token;
use crate::{
    cli::{Enroll, Global, OperatorVerb, RankOf},
    client::Client,
    context::{self, Context},
    end::{End, Failure},
    out::Out,
    render::words,
};
use certs::{KeyRequest, Link, Role, Store, Token, enrol_connect_to};
use daemon::durable;
use proto::v1::{EnrolReply, EnrolRequest, enrolment_client::EnrolmentClient};
use serde::Serialize;
use std::path::Path;

/// What `enroll --json` prints.
#[derive(Serialize)]
struct Enrolled<'a> {
    operator: &'a str,
    rank: &'a str,
    context: &'a Path,
    serial: &'a str,
}

pub(crate) async fn add(verb: OperatorVerb, client: &mut Client, out: Out) -> Result<End, Failure> {
    let OperatorVerb::Add { name, rank, valid } = verb;
    let rank = match rank {
        RankOf::Viewer => "viewer",
        RankOf::Operator => "operator",
        RankOf::Admin => "admin",
    };
    let reply = token::mint(client, &name, rank, valid, out).await?;
    out.talk(&format!(
        "for one use by {name} (rank {rank}), until {}\n\
         hint: {name} runs `coordctl enroll --token TOKEN` on a machine that reaches the coordinators",
        words::instant(reply.expires_unix_ms)
    ));
    Ok(End::DONE)
}

pub(crate) async fn enroll(args: Enroll, global: &Global, out: Out) -> Result<End, Failure> {
    let failed = |error: String| Failure::failed(error);
    let token = Token::parse(args.token.trim(), certs::now())
        .map_err(|error| Failure::usage(error.to_string()))?;
    if !matches!(token.role.role(), Role::Operator(_)) {
        return Err(Failure::usage(format!("the token is for a {}, not for a person", token.role))
            .hint(format!("ask for one: coordctl operator add {}", token.host)));
    }
    let dir = context::directory(global.context.as_deref())?;
    if dir.join(context::FILE).exists() {
        return Err(Failure::failed(format!(
            "{} is there already: this context belongs to an operator",
            dir.join(context::FILE).display()
        ))
        .hint("name another directory for the new operator with --context DIR"));
    }
    durable::create_private_dir(&dir)?;
    let store = Store::at(dir.clone());
    let pending = store.pending().map_err(|error| failed(certs::explain(&error)))?;
    let reply = redeem(&token, &pending).await?;
    token.check_authority(&reply.authority).map_err(|error| failed(error.to_string()))?;
    store
        .complete(&reply.identity, &reply.authority)
        .map_err(|error| failed(certs::explain(&error)))?;
    // Last: with it the directory is a context.
    Context { dir: dir.clone(), coordinators: reply.coordinators.clone() }.save()?;
    let (operator, rank) = (token.host.as_str(), token.role.as_str());
    let made = Enrolled { operator, rank, context: &dir, serial: &reply.serial };
    out.either(&made, |made| {
        format!(
            "operator {} (rank {}): context in {}, serial {}",
            made.operator,
            made.rank,
            made.context.display(),
            made.serial
        )
    })?;
    Ok(End::DONE)
}

/// Asks each coordinator that the token names, until one enrols.
async fn redeem(token: &Token, pending: &KeyRequest) -> Result<EnrolReply, Failure> {
    let mut failures = Vec::new();
    for address in &token.addresses {
        match ask(address, token, pending).await {
            Ok(reply) => return Ok(reply),
            Err(words) => failures.push(format!("\n  {address}: {words}")),
        }
    }
    Err(Failure::failed(format!("no coordinator enrolled this operator:{}", failures.concat())))
}

async fn ask(address: &str, token: &Token, pending: &KeyRequest) -> Result<EnrolReply, String> {
    let channel = enrol_connect_to(address, token.authority, pending, &Link::default())
        .await
        .map_err(|error| certs::explain(&error))?;
    let request = EnrolRequest {
        version: Some(proto::own_version()),
        token: token.id.clone(),
        secret: token.secret().to_vec(),
        host: token.host.to_string(),
        request: pending.csr_der().to_vec(),
    };
    let reply = EnrolmentClient::new(channel).enrol(request).await;
    reply.map(tonic::Response::into_inner).map_err(|status| certs::explain_status(&status))
}
