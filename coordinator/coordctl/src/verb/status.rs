//! `status`, once or every second.

use crate::{
    cli::Status,
    client::Client,
    end::{End, Failure},
    out::Out,
    render,
};
use daemon::{clock, exit::Exit};
use proto::v1::StatusRequest;
use std::time::Duration;

/// How often `--watch` draws.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: Status, client: &mut Client, out: Out) -> Result<End, Failure> {
    let request = StatusRequest { group: args.group.unwrap_or_default() };
    if !args.watch {
        let reply = client.status(request).await?;
        out.either(&reply, |reply| render::status::status(reply, out.into()))?;
        return Ok(End::DONE);
    }
    // Before the first call, so that no Ctrl-C falls between two of them.
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        let drawn = tokio::select! {
            drawn = draw(client, &request, out) => drawn,
            _ = &mut stop => return Ok(End::DONE),
        };
        drawn?;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = &mut stop => return Ok(End::DONE),
        }
    }
}

/// One picture. That nobody leads is a picture too: the next may be better.
async fn draw(client: &mut Client, request: &StatusRequest, out: Out) -> Result<(), Failure> {
    match client.status(request.clone()).await {
        Ok(reply) => out.redraw(&render::status::status(&reply, out.into())),
        Err(failure) if failure.end == End::As(Exit::Unreachable) => {
            let at = render::words::instant(clock::wall_ms());
            out.redraw(&format!("warning: {at}: {failure}"))
        }
        Err(failure) => Err(failure),
    }
}
