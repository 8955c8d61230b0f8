//! Handing one message to one channel: Slack, a signed webhook, a log file.
//!
//! One call is one try with one deadline. The outbox, who is told what, and
//! when to try again live in the journal: an error only says whether a
//! further try makes sense. A message can come twice (a leader died after it was
//! accepted and before that was recorded): its delivery id is the same each time, so
//! that receivers can drop the second; the log file drops it here.
//! Secrets (a webhook's key, Slack's URL) appear in no error, log line or `Debug`.

mod config;
mod http;
mod log;

pub use config::{NotifyConfig, Secret, SecretError, SetupError};

use model::{GroupId, IncidentId, Millis, NotificationId, Severity, Wall};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// One try's time, from connecting to the answer's end.
const DEADLINE: Duration = Duration::from_secs(10);

/// The longest wait that a receiver can ask for: a notification about money
/// should not wait for longer at a stranger's word.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);

/// The form of a message as JSON; grows when it changes.
const VERSION: u32 = 1;

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number in the journal's outbox.
    pub id: NotificationId,
    /// How much it matters.
    pub severity: Severity,
    /// The group it is about, if it is about one.
    pub group: Option<GroupId>,
    /// The incident it belongs to, if to one.
    pub incident: Option<IncidentId>,
    /// One line.
    pub title: String,
    /// More lines; may be empty.
    pub body: String,
    /// When its record was made.
    pub at: Wall,
    /// Which installation speaks.
    pub installation: String,
}

/// A message that its receiver took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The channel.
    pub channel: String,
    /// The delivery id that went with it.
    pub delivery: String,
    /// The log file had it already.
    pub repeated: bool,
    /// From the call to the answer.
    pub took: Millis,
}

/// Why a receiver did not take a message.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// This coordinator has no such channel.
    #[error(
        "no channel is called `{channel}` in coordinator.toml on this coordinator; it has {known}"
    )]
    UnknownChannel {
        /// The channel asked for.
        channel: String,
        /// Those there are.
        known: String,
    },
    /// The receiver will not take it, however often it is tried.
    #[error("channel `{channel}`: the receiver refused with status {status}{words}; {hint}")]
    Refused {
        /// The channel.
        channel: String,
        /// The HTTP status.
        status: u16,
        /// The receiver's words, in brackets, or nothing.
        words: String,
        /// What to do.
        hint: &'static str,
    },
    /// The receiver cannot take it now.
    #[error("channel `{channel}`: the receiver is not ready, status {status}{words}")]
    NotNow {
        /// The channel.
        channel: String,
        /// The HTTP status.
        status: u16,
        /// The receiver's words, in brackets, or nothing.
        words: String,
        /// How long it asks to be left alone, at most 15 minutes.
        retry_after: Option<Duration>,
    },
    /// An answer that such a receiver never gives: something else listens there.
    #[error(
        "channel `{channel}`: status {status}, but not the answer `ok`{words}; is the URL right, or does a proxy answer?"
    )]
    Odd {
        /// The channel.
        channel: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer, in brackets, or nothing.
        words: String,
    },
    /// No answer within the deadline.
    #[error("channel `{channel}`: no answer within {after}")]
    TimedOut {
        /// The channel.
        channel: String,
        /// The deadline it had.
        after: Millis,
    },
    /// No connection, or it broke.
    #[error("channel `{channel}`: the receiver cannot be reached: {reason}")]
    Unreachable {
        /// The channel.
        channel: String,
        /// Why, from the outside in, without the URL.
        reason: String,
    },
    /// The message cannot be put into a request.
    #[error("channel `{channel}`: the message cannot be sent: {reason}")]
    Malformed {
        /// The channel.
        channel: String,
        /// Why not.
        reason: String,
    },
    /// The log file could not be written.
    #[error("channel `{channel}`: {source}")]
    Log {
        /// The channel.
        channel: String,
        /// What failed, and where.
        source: daemon::durable::DurableError,
    },
    /// Another process holds the log file.
    #[error("channel `{channel}`: another process has held {path} for {}", millis(log::LOCK_WAIT))]
    LogBusy {
        /// The channel.
        channel: String,
        /// The file.
        path: String,
    },
}

impl DeliveryError {
    /// Whether the same message may be accepted later.
    #[must_use]
    pub const fn is_worth_retrying(&self) -> bool {
        match self {
            Self::NotNow { .. }
            | Self::Odd { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::Log { .. }
            | Self::LogBusy { .. } => true,
            Self::UnknownChannel { .. } | Self::Refused { .. } | Self::Malformed { .. } => false,
        }
    }

    /// How long the receiver asked to be left alone, at most 15 minutes.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotNow { retry_after, .. } => *retry_after,
            Self::UnknownChannel { .. }
            | Self::Refused { .. }
            | Self::Odd { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::Malformed { .. }
            | Self::Log { .. }
            | Self::LogBusy { .. } => None,
        }
    }
}

/// The channels of this coordinator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Channels {
    channels: BTreeMap<String, Channel>,
    deadline: Duration,
}

impl Default for Channels {
    /// None at all.
    fn default() -> Self {
        Self { channels: BTreeMap::new(), deadline: DEADLINE }
    }
}

#[derive(Debug, Clone)]
enum Channel {
    Slack(http::Slack),
    Webhook(http::Webhook),
    Log(log::Log),
}

impl Channels {
    /// Reads the secrets' files and prepares every channel.
    ///
    /// # Errors
    /// [`SetupError`] names the channel and what to do.
    pub fn from_config(config: &[NotifyConfig]) -> Result<Self, SetupError> {
        config::set_up(config)
    }

    /// The channels' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.channels.keys().map(String::as_str)
    }

    /// Hands `message` to one channel, once. Returns within about 10 s.
    ///
    /// # Errors
    /// [`DeliveryError`] says whether to try again, and when at the earliest.
    pub async fn deliver(
        &self,
        channel: &str,
        message: &Message,
    ) -> Result<Accepted, DeliveryError> {
        let begun = std::time::Instant::now();
        let Some(target) = self.channels.get(channel) else {
            let names: Vec<_> = self.names().map(|name| format!("`{name}`")).collect();
            let known = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(DeliveryError::UnknownChannel { channel: channel.into(), known });
        };
        let delivery = delivery_id(channel, message);
        let given = Given { channel, message, delivery: &delivery, deadline: self.deadline };
        let repeated = match target {
            Channel::Slack(slack) => slack.deliver(given).await.map(|()| false),
            Channel::Webhook(hook) => hook.deliver(given).await.map(|()| false),
            Channel::Log(log) => log.deliver(given).await,
        }?;
        let took = millis(begun.elapsed());
        Ok(Accepted { channel: channel.into(), delivery, repeated, took })
    }
}

/// One message on its way to one channel.
#[derive(Clone, Copy)]
struct Given<'a> {
    channel: &'a str,
    message: &'a Message,
    delivery: &'a str,
    deadline: Duration,
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Names one delivery, the same at every try and from every leader. Only
/// letters, digits and `._-/%`, so that it can stand in a header.
fn delivery_id(channel: &str, message: &Message) -> String {
    let mut id = String::new();
    for byte in message.installation.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => id.push(byte.into()),
            other => id.push_str(&format!("%{other:02X}")),
        }
    }
    format!("{id}/{}/{channel}", message.id)
}

/// A message as JSON: a webhook's body and a line of the log.
#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    delivery: &'a str,
    installation: &'a str,
    notification: NotificationId,
    severity: Severity,
    group: Option<&'a GroupId>,
    incident: Option<IncidentId>,
    title: &'a str,
    body: &'a str,
    at: String,
    at_ms: Wall,
}

impl Given<'_> {
    /// The same bytes at every try. One line: JSON escapes line breaks.
    fn json(self) -> Result<Vec<u8>, DeliveryError> {
        let Message { id, severity, group, incident, title, body, at, installation } = self.message;
        serde_json::to_vec(&Body {
            version: VERSION,
            delivery: self.delivery,
            installation,
            notification: *id,
            severity: *severity,
            group: group.as_ref(),
            incident: *incident,
            title,
            body,
            at: utc(*at),
            at_ms: *at,
        })
        .map_err(|error| self.malformed(&error))
    }

    fn timed_out(self) -> DeliveryError {
        DeliveryError::TimedOut { channel: self.channel.into(), after: millis(self.deadline) }
    }

    fn malformed(self, reason: &dyn std::fmt::Display) -> DeliveryError {
        DeliveryError::Malformed { channel: self.channel.into(), reason: reason.to_string() }
    }
}

/// RFC 3339 in UTC; empty for a time that no calendar has.
fn utc(at: Wall) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map(|time| time.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
