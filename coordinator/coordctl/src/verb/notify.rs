//! `notify outbox`.

use crate::{
    cli::NotifyVerb,
    client::{Client, Repeat},
    end::{End, Failure},
    out::Out,
    render,
};
use proto::v1::OutboxRequest;

pub(crate) async fn run(verb: NotifyVerb, client: &mut Client, out: Out) -> Result<End, Failure> {
    let NotifyVerb::Outbox = verb;
    let reply = client
        .call(OutboxRequest {}, Repeat::Safe, async |api, request| api.outbox(request).await)
        .await?;
    out.either(&reply, |reply| render::list::outbox(&reply.notifications, out.into()))?;
    Ok(End::DONE)
}
