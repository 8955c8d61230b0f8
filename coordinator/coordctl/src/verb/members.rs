//! `members list|remove|transfer`.

use crate::{
    cli::MembersVerb,
    client::{Client, Repeat},
    end::{End, Failure},
    out::Out,
    render,
};
use proto::v1::{MembersReply, MembersRequest, RemoveMemberRequest, TransferLeadershipRequest};
use serde::Serialize;

/// What `members remove --json` prints.
#[derive(Serialize)]
struct Removed<'a> {
    removed: &'a str,
}

async fn list(client: &mut Client) -> Result<MembersReply, Failure> {
    client
        .call(MembersRequest {}, Repeat::Safe, async |api, request| api.members(request).await)
        .await
}

pub(crate) async fn run(verb: MembersVerb, client: &mut Client, out: Out) -> Result<End, Failure> {
    match verb {
        MembersVerb::List => {
            let reply = list(client).await?;
            client.learn(&reply.members);
            out.either(&reply, |reply| render::status::members(&reply.members, out.into()))?;
        }
        MembersVerb::Remove { name } => remove(&name, client, out).await?,
        MembersVerb::Transfer { to } => {
            let named = to.is_some();
            let request = TransferLeadershipRequest { to: to.unwrap_or_default() };
            // To a named one twice is the same as once; to "another one" is not.
            let repeat = if named { Repeat::Safe } else { Repeat::Never };
            let reply = client
                .call(request, repeat, async |api, request| api.transfer_leadership(request).await)
                .await?;
            out.either(&reply, |reply| format!("{} leads now", reply.leader))?;
        }
    }
    Ok(End::DONE)
}

async fn remove(name: &str, client: &mut Client, out: Out) -> Result<(), Failure> {
    let members = list(client).await?.members;
    let request = RemoveMemberRequest { name: name.to_owned() };
    client
        .call(request, Repeat::Safe, async |api, request| api.remove_member(request).await)
        .await?;
    if let Some(member) = members.iter().find(|member| member.name == name) {
        client.forget(&member.address);
    }
    out.either(&Removed { removed: name }, |_| {
        format!("{name} has no vote any more; its certificate is still valid")
    })?;
    out.talk("hint: `coordctl certs list`, then `coordctl certs revoke SERIAL --reason TEXT`");
    Ok(())
}
