//! `backup rpo`: what the loss of each host would lose now.

use crate::{
    client::Client,
    end::{End, Failure},
    out::Out,
    render,
};
use daemon::exit::Exit;
use proto::v1::{HostBackup, StatusRequest};
use serde::Serialize;

/// What `--json` prints.
#[derive(Serialize)]
struct Rpo<'a> {
    sources: Vec<Source<'a>>,
}

#[derive(Serialize)]
struct Source<'a> {
    host: &'a str,
    #[serde(flatten)]
    backup: &'a HostBackup,
}

pub(crate) async fn rpo(
    group: Option<String>,
    client: &mut Client,
    out: Out,
) -> Result<End, Failure> {
    let mut reply = client.status(StatusRequest::default()).await?;
    if let Some(group) = &group {
        for host in &mut reply.hosts {
            host.backups.retain(|backup| backup.group == *group);
        }
    }
    let of = |host: &'_ proto::v1::Host| host.backups.len();
    let count: usize = reply.hosts.iter().map(of).sum();
    let sources = reply
        .hosts
        .iter()
        .flat_map(|host| host.backups.iter().map(|backup| Source { host: &host.name, backup }));
    out.either(&Rpo { sources: sources.collect() }, |_| {
        render::rpo::rpo(&reply.hosts, out.into())
    })?;
    if count == 0 {
        out.talk("no agent has told of a source; write [[backup]] into agent.toml");
    }
    let beyond = reply.hosts.iter().flat_map(|host| &host.backups).any(|b| b.state == "failed");
    Ok(if beyond { End::As(Exit::Failed) } else { End::DONE })
}
