//! Finds the leader and asks it.
//!
//! Every coordinator known is dialled at once; a follower names the leader.
//! Everything is bounded: a dial, an answer, the whole search (`--timeout`).
//! A question that may be asked twice is asked again until the search ends;
//! one that may not is never sent a second time once it may have arrived.

mod dial;
mod search;

use crate::{
    context::Context,
    end::{self, Failure},
    out::Out,
};
use dial::Dialler;
use proto::v1::{Member, StatusReply, StatusRequest, operator_client::OperatorClient};
use search::Search;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::{Request, Response, Status, transport::Channel};

/// The operator's calls over one connection.
pub(crate) type Api = OperatorClient<Channel>;

/// A coordinator that has not answered by then is given up for another one: a
/// commit takes one round among three hosts, an election under 1.5 s.
const ANSWER: Duration = Duration::from_secs(4);
/// How often one round follows a follower's word of who leads.
const HOPS: usize = 3;
/// Largest answer that is read: a long history of incidents stays below it.
const ANSWER_MAX_BYTES: usize = 32 * 1024 * 1024;

/// Whether a question may be sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing, carries a request id, or has the same effect twice.
    Safe,
    /// Twice is not the same as once.
    Never,
}

/// What one coordinator said.
enum Said<R> {
    Done(R),
    /// It does not lead; perhaps it knows who does.
    Elsewhere(Option<String>),
    /// Nothing usable; another one may do better.
    Nothing(String),
    Refused(Failure),
}

/// How to reach the leader, and the leader found last.
#[derive(Debug)]
pub(crate) struct Client {
    context: Context,
    dialler: Dialler,
    timeout: Duration,
    leader: Option<(String, Api)>,
    out: Out,
}

impl Client {
    /// With the credentials of this context. Dials nothing yet.
    pub(crate) fn new(context: Context, timeout: Duration, out: Out) -> Result<Self, Failure> {
        let dialler = Dialler::load(&context.dir)?;
        Ok(Self { context, dialler, timeout, leader: None, out })
    }

    /// How long a search for the leader lasts.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A failed call in words.
    pub(crate) fn words_of(&self, status: &Status) -> String {
        dial::words(status)
    }

    /// Asks the leader, whoever that is at the moment.
    pub(crate) async fn call<Q: Clone, R>(
        &mut self,
        question: Q,
        repeat: Repeat,
        rpc: impl AsyncFn(&mut Api, Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let mut search = Search::new(self.timeout, self.context.coordinators.len());
        loop {
            if let Some(answer) = self.round(&question, repeat, &rpc, &mut search).await {
                return answer;
            }
            if !search.another_round().await {
                return Err(search.failure(&self.context));
            }
        }
    }

    /// Tries the leader found last, then everybody; nothing when nobody leads.
    async fn round<Q: Clone, R>(
        &mut self,
        question: &Q,
        repeat: Repeat,
        rpc: &impl AsyncFn(&mut Api, Request<Q>) -> Result<Response<R>, Status>,
        search: &mut Search,
    ) -> Option<Result<R, Failure>> {
        if let Some((address, api)) = self.leader.take()
            && let Some(answer) = self.ask_around(address, api, question, repeat, rpc, search).await
        {
            return Some(answer);
        }
        let mut dials = JoinSet::new();
        for address in &self.context.coordinators {
            let (address, dialler) = (address.clone(), self.dialler.clone());
            dials.spawn(async move {
                let dialled = dialler.dial(&address).await;
                (address, dialled)
            });
        }
        while let Some(joined) = search.within(dials.join_next()).await.flatten() {
            // A dial neither panics nor is aborted while it is awaited here.
            let Ok((address, dialled)) = joined else { continue };
            match dialled {
                Ok(api) => {
                    let answer = self.ask_around(address, api, question, repeat, rpc, search).await;
                    if answer.is_some() {
                        return answer;
                    }
                }
                Err(refusal) => search.not_dialled(address, refusal),
            }
        }
        None
    }

    /// Asks one coordinator, and those that it names as the leader.
    async fn ask_around<Q: Clone, R>(
        &mut self,
        mut address: String,
        mut api: Api,
        question: &Q,
        repeat: Repeat,
        rpc: &impl AsyncFn(&mut Api, Request<Q>) -> Result<Response<R>, Status>,
        search: &mut Search,
    ) -> Option<Result<R, Failure>> {
        for _ in 0..HOPS {
            let limit = match repeat {
                Repeat::Safe => search.left().min(ANSWER),
                Repeat::Never => search.left(),
            };
            let said = ask(&address, &mut api, question.clone(), rpc, limit).await;
            let named = match said {
                Said::Done(answer) => {
                    self.leader = Some((address, api));
                    return Some(Ok(answer));
                }
                Said::Refused(failure) => {
                    self.leader = Some((address, api));
                    return Some(Err(failure));
                }
                Said::Nothing(words) if repeat == Repeat::Never => {
                    return Some(Err(perhaps_done(&address, &words)));
                }
                Said::Nothing(words) => {
                    search.silent(address, words);
                    return None;
                }
                Said::Elsewhere(named) => named,
            };
            let Some(named) = named.filter(|named| *named != address) else {
                search.silent(address, "it knows of no leader at the moment".into());
                return None;
            };
            search.silent(address, format!("it is not the leader and names {named}"));
            match search.within(self.dialler.dial(&named)).await {
                Some(Ok(next)) => (address, api) = (named, next),
                Some(Err(refusal)) => {
                    search.not_dialled(named, refusal);
                    return None;
                }
                None => return None,
            }
        }
        None
    }

    /// The status; what it says of the members is remembered.
    pub(crate) async fn status(&mut self, request: StatusRequest) -> Result<StatusReply, Failure> {
        let reply = self
            .call(request, Repeat::Safe, async |api, request| api.status(request).await)
            .await?;
        self.learn(&reply.members);
        Ok(reply)
    }

    /// Adds members to the context, so that they are dialled when the others are gone.
    pub(crate) fn learn(&mut self, members: &[Member]) {
        let before = self.context.coordinators.len();
        // A witness answers no operator.
        let able = members.iter().filter(|member| member.role != "witness");
        if self.context.learn(able.map(|member| member.address.as_str())) {
            let new = self.context.coordinators[before..].join(", ");
            match self.context.save() {
                Ok(()) => self.out.talk(&format!("note: this context now also knows {new}")),
                Err(failure) => {
                    self.out
                        .talk(&format!("note: this context could not remember {new}: {failure}"));
                }
            }
        }
    }

    /// Drops a removed member from the context.
    pub(crate) fn forget(&mut self, address: &str) {
        if self.context.forget(address)
            && let Err(failure) = self.context.save()
        {
            self.out.talk(&format!("note: this context could not forget {address}: {failure}"));
        }
    }
}

/// One question to one coordinator.
async fn ask<Q, R>(
    address: &str,
    api: &mut Api,
    question: Q,
    rpc: &impl AsyncFn(&mut Api, Request<Q>) -> Result<Response<R>, Status>,
    limit: Duration,
) -> Said<R> {
    let begun = Instant::now();
    let Ok(answer) = tokio::time::timeout(limit, rpc(api, Request::new(question))).await else {
        return Said::Nothing(format!("no answer within {} ms", begun.elapsed().as_millis()));
    };
    let status = match answer {
        Ok(answer) => return Said::Done(answer.into_inner()),
        Err(status) => status,
    };
    if let Some(leader) = end::metadata(&status, end::LEADER) {
        return Said::Elsewhere(Some(leader.to_owned()).filter(|leader| !leader.is_empty()));
    }
    if end::is_transport(&status) {
        return Said::Nothing(dial::words(&status));
    }
    Said::Refused(end::of_status(address, &status))
}

fn perhaps_done(address: &str, words: &str) -> Failure {
    Failure::unreachable(format!(
        "coordinator {address} was asked and did not answer, so this may or may not be done: {words}"
    ))
    .hint("look before trying again: `coordctl status`, `coordctl members list`")
}

/// A new id for a call that changes something: the same id twice is done once.
pub(crate) fn request_id() -> String {
    let mut random = daemon::random::Random::from_os();
    format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_differ() {
        let (a, b) = (request_id(), request_id());
        assert_eq!(a.len(), 32);
        assert_ne!(a, b);
    }
}
