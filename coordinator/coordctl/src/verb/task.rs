//! A task on a host: asked for once, its output taken piece by piece. To end this
//! program ends the task.

use crate::{
    client::{Client, Repeat, request_id},
    end::{End, Failure},
    out::Out,
};
use daemon::exit::Exit;
use proto::v1::{RunTaskRequest, Task, TaskEnd, task::Work, task_event::Body};
use std::time::Duration;

/// What is to be done, where and within which bounds.
pub(crate) struct Wish {
    pub(crate) host: String,
    pub(crate) reason: String,
    pub(crate) limit: Duration,
    pub(crate) limit_bytes: u64,
    pub(crate) json: bool,
    pub(crate) work: Work,
}

/// Has it done. `take` gets what the task writes to stdout; what it writes to
/// stderr goes to ours.
pub(crate) async fn run(
    wish: Wish,
    client: &mut Client,
    out: Out,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<End, Failure> {
    let host = wish.host;
    let request = RunTaskRequest {
        request_id: request_id(),
        host: host.clone(),
        reason: wish.reason,
        task: Some(Task { work: Some(wish.work) }),
        limit_ms: u64::try_from(wish.limit.as_millis()).unwrap_or(u64::MAX),
        limit_bytes: wish.limit_bytes,
        json: wish.json,
    };
    // The same request twice is done once.
    let mut stream = client
        .call(request, Repeat::Safe, async |api, request| api.run_task(request).await)
        .await?;
    loop {
        let event = match stream.message().await {
            Ok(Some(event)) => event,
            Ok(None) => return Err(lost(&host, "the stream ended")),
            Err(status) => return Err(lost(&host, &client.words_of(&status))),
        };
        match event.body {
            Some(Body::Out(piece)) => take(&piece)?,
            Some(Body::Talk(piece)) => out.talk_bytes(&piece),
            Some(Body::End(end)) => return ended(&host, &end),
            // By the skew rule: what is not known can be done without.
            None => {}
        }
    }
}

fn lost(host: &str, why: &str) -> Failure {
    Failure::unreachable(format!("lost sight of the task on {host}, which ends with it: {why}"))
        .hint("look what it came to before trying again: `coordctl status --json`")
}

fn ended(host: &str, end: &TaskEnd) -> Result<End, Failure> {
    let words = match end.detail.as_str() {
        "" => format!("{host} ended it with exit code {}", end.exit),
        detail => format!("{host}: {detail}"),
    };
    let all = [Exit::Failed, Exit::Usage, Exit::Refused, Exit::Unreachable, Exit::Held];
    match all.into_iter().find(|exit| u32::from(exit.code()) == end.exit) {
        Some(Exit::Usage) => Err(Failure::usage(words)),
        Some(Exit::Refused) => Err(Failure::refused(words)),
        Some(Exit::Unreachable) => Err(Failure::unreachable(words)),
        Some(Exit::Held) => Ok(End::As(Exit::Held)),
        Some(Exit::Done | Exit::Failed | Exit::NotDurable) | None if end.exit == 0 => Ok(End::DONE),
        Some(Exit::Done | Exit::Failed | Exit::NotDurable) | None => Err(Failure::failed(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_ends_as_it_ended_on_its_host() {
        let code = |exit| {
            let end = TaskEnd { exit, detail: String::new() };
            ended("p1", &end).unwrap_or_else(|failure| failure.end).code()
        };
        for same in [0, 1, 2, 3, 4, 5] {
            assert_eq!(u32::from(code(same)), same);
        }
        // Anything else is no success.
        assert_eq!((code(74), code(101), code(u32::MAX)), (1, 1, 1));
        let end = TaskEnd { exit: 3, detail: "not allowed".into() };
        assert_eq!(ended("p1", &end).unwrap_err().message, "p1: not allowed");
    }
}
