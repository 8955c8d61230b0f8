//! How a verb ends: an exit code, and for a failure the words and the next command.
//!
//! The mapping from a coordinator's gRPC status is here and nowhere else.
//! Exit codes are the product's (`daemon::exit::Exit`) and two of the shell's.

use daemon::exit::Exit;
use std::{error::Error as _, fmt};
use tonic::{Code, Status};

/// Metadata that names the safety rule which refused a call.
pub(crate) const REFUSED_BY: &str = "understudy-refused-by";
/// Metadata with the leader's address, sent by a follower; empty when it knows none.
pub(crate) const LEADER: &str = "understudy-leader";

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// One of the product's codes.
    As(Exit),
    /// Ctrl-C while a plan runs: neither done nor failed, so that a script
    /// behind `&&` does not go on. 130 is what shells report for SIGINT.
    Detached,
    /// The reader of stdout went away. 141 is what shells report for SIGPIPE.
    PipeClosed,
}

impl End {
    /// Done.
    pub(crate) const DONE: Self = Self::As(Exit::Done);

    /// The exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::As(exit) => exit.code(),
            Self::Detached => 130,
            Self::PipeClosed => 141,
        }
    }
}

/// Why a verb did not do what was asked, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) end: End,
    /// What failed, and where; empty for a silent end.
    pub(crate) message: String,
    /// What to do or to type next; may be empty.
    pub(crate) hint: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { end: End::As(exit), message: message.into(), hint: String::new() }
    }

    /// It was tried and failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line or a file is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A safety rule refused it.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// No leader, or nobody answers.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    /// An end without words: the reader of stdout is gone.
    pub(crate) const fn pipe_closed() -> Self {
        Self { end: End::PipeClosed, message: String::new(), hint: String::new() }
    }

    /// With the next thing to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl From<anyhow::Error> for Failure {
    /// The whole chain in one line.
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

impl From<daemon::durable::DurableError> for Failure {
    fn from(error: daemon::durable::DurableError) -> Self {
        Self::failed(error.to_string())
    }
}

/// Text of a metadata value; nothing when the key is absent or not ASCII.
pub(crate) fn metadata<'a>(status: &'a Status, key: &str) -> Option<&'a str> {
    status.metadata().get(key).and_then(|value| value.to_str().ok())
}

/// Whether the coordinator never answered this: the connection failed under the call.
pub(crate) fn is_transport(status: &Status) -> bool {
    // A status that a server sent carries no local error.
    status.source().is_some() || status.code() == Code::Unavailable
}

/// What a coordinator's refusal means for the operator.
pub(crate) fn of_status(coordinator: &str, status: &Status) -> Failure {
    let said = match status.message() {
        "" => format!("no reason was given ({:?})", status.code()),
        words => words.to_owned(),
    };
    match status.code() {
        Code::FailedPrecondition => match metadata(status, REFUSED_BY) {
            Some("") => Failure::refused(format!("refused by a safety rule: {said}")),
            Some(rule) => Failure::refused(format!("refused by safety rule {rule}: {said}")),
            None => Failure::failed(said),
        },
        Code::InvalidArgument | Code::OutOfRange => Failure::usage(said),
        Code::PermissionDenied => Failure::failed(format!("permission denied: {said}"))
            .hint("use the context of an operator with a higher rank: --context DIR"),
        Code::Unauthenticated => Failure::failed(format!(
            "coordinator {coordinator} does not accept this context: {said}"
        ))
        .hint("use another context with --context DIR, or have a new certificate issued"),
        Code::NotFound => Failure::failed(said).hint(
            "see what there is: `coordctl status`, `coordctl incident list`, `coordctl plan list`",
        ),
        Code::Unimplemented => Failure::failed(format!(
            "coordinator {coordinator} does not know this call; it is older than this coordctl"
        ))
        .hint("upgrade the coordinators, or use the coordctl of their version"),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
            Failure::unreachable(format!("coordinator {coordinator}: {said}"))
        }
        Code::Ok
        | Code::Unknown
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::DataLoss => Failure::failed(format!("coordinator {coordinator}: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_codes_are_the_documented_ones() {
        assert_eq!(End::DONE.code(), 0);
        assert_eq!(Failure::failed("x").end.code(), 1);
        assert_eq!(Failure::usage("x").end.code(), 2);
        assert_eq!(Failure::refused("x").end.code(), 3);
        assert_eq!(Failure::unreachable("x").end.code(), 4);
        assert_eq!(End::As(Exit::Held).code(), 5);
        assert_eq!((End::Detached.code(), End::PipeClosed.code()), (130, 141));
    }

    #[test]
    fn a_rule_that_refuses_is_named() {
        let mut status = Status::failed_precondition("lost sight of too few observers");
        status.metadata_mut().insert(REFUSED_BY, "C5".parse().unwrap());
        let failure = of_status("c1:1", &status);
        assert_eq!(failure.end.code(), 3);
        assert_eq!(failure.message, "refused by safety rule C5: lost sight of too few observers");
        let plain = of_status("c1:1", &Status::failed_precondition("a plan runs already"));
        assert_eq!((plain.end.code(), plain.message.as_str()), (1, "a plan runs already"));
    }

    #[test]
    fn every_status_has_words_and_a_code() {
        let code = |status: Status| of_status("c1:1", &status).end.code();
        assert_eq!(code(Status::invalid_argument("x")), 2);
        assert_eq!(code(Status::unavailable("x")), 4);
        assert_eq!(code(Status::not_found("x")), 1);
        let denied = of_status("c1:1", &Status::permission_denied("needs rank admin"));
        assert!(denied.message.contains("needs rank admin") && denied.hint.contains("--context"));
        let silent = of_status("c1:1", &Status::internal(""));
        assert!(silent.message.contains("no reason was given"), "{silent}");
    }
}
