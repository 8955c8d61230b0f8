//! The channels that are HTTP receivers, and what their answers mean.

use super::{DeliveryError, Given, RETRY_AFTER_MAX, utc};
use daemon::clock;
use jiff::fmt::rfc2822;
use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use ring::hmac;
use std::{fmt, time::Duration};

/// Bytes of an answer that are read: Slack's words are far shorter.
const ANSWER_MAX: usize = 1024;

/// Characters of an answer that are shown.
const WORDS_MAX: usize = 200;

/// Characters of a Slack message: Slack advises at most 4000, and our own
/// frame needs some of them.
const SLACK_MAX: usize = 3500;

/// Where a receiver listens. The URL may be a secret, so `Debug` hides it.
#[derive(Clone)]
pub(super) struct Endpoint {
    url: Url,
    client: Client,
}

impl Endpoint {
    /// A URL that keeps its content private: https, or on this machine.
    pub(super) fn new(text: &str, client: Client) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("cannot be read: {error}"))?;
        let local = match url.host_str() {
            Some("localhost") => true,
            Some(host) => host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
            None => return Err("names no host".into()),
        };
        match url.scheme() {
            "https" => Ok(Self { url, client }),
            "http" if local => Ok(Self { url, client }),
            "http" => {
                Err("is not encrypted; use https:// (http:// is only for this machine)".into())
            }
            other => Err(format!("begins with {other}:, not https:")),
        }
    }

    fn post_json(&self) -> RequestBuilder {
        self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// A signing key; `Debug` hides it.
#[derive(Clone)]
pub(super) struct Key(pub(super) hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// A Slack incoming webhook.
#[derive(Debug, Clone)]
pub(super) struct Slack {
    pub(super) receiver: Endpoint,
}

impl Slack {
    /// Slack takes a message by answering 200 with the word `ok`.
    pub(super) async fn deliver(&self, given: Given<'_>) -> Result<(), DeliveryError> {
        let body = serde_json::json!({ "text": slack_text(given) }).to_string();
        let answer = send(self.receiver.post_json().body(body), given).await?;
        if answer.text.trim() == "ok" {
            return Ok(());
        }
        let (status, words) = (answer.status.as_u16(), answer.words());
        Err(DeliveryError::Odd { channel: given.channel.into(), status, words })
    }
}

/// The message in Slack's markup, which gives `&`, `<` and `>` a meaning.
fn slack_text(given: Given<'_>) -> String {
    let message = given.message;
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let severity = message.severity.word().to_uppercase();
    let mut text = format!("*[{severity}] {}*", escape(&message.title));
    if !message.body.is_empty() {
        text.push('\n');
        text.push_str(&escape(&message.body));
    }
    if text.chars().count() > SLACK_MAX {
        text = text.chars().take(SLACK_MAX).collect();
        text.push_str("… (shortened; `coordctl incident show` has all of it)");
    }
    let mut facts = vec![format!("installation {}", escape(&message.installation))];
    facts.extend(message.group.as_ref().map(|group| format!("group {group}")));
    facts.extend(message.incident.map(|incident| format!("incident {incident}")));
    facts.push(utc(message.at));
    // A reader who sees two with the same number knows that it is one.
    facts.push(format!("notification {}", message.id));
    format!("{text}\n_{}_", facts.join(" · "))
}

/// A receiver of signed JSON.
#[derive(Debug, Clone)]
pub(super) struct Webhook {
    pub(super) receiver: Endpoint,
    pub(super) key: Key,
}

impl Webhook {
    /// Any 2xx takes the message.
    pub(super) async fn deliver(&self, given: Given<'_>) -> Result<(), DeliveryError> {
        let body = given.json()?;
        let timestamp = (clock::wall_ms() / 1000).to_string();
        let signature = sign(&self.key.0, &timestamp, &body);
        let request = self
            .receiver
            .post_json()
            .header("Understudy-Delivery", given.delivery)
            .header("Understudy-Timestamp", &timestamp)
            .header("Understudy-Signature", format!("v1={signature}"));
        send(request.body(body), given).await.map(drop)
    }
}

/// HMAC-SHA-256 in hex over the timestamp (seconds since 1970), a dot and the
/// body: a receiver that checks the timestamp too cannot be played an old message.
fn sign(key: &hmac::Key, timestamp: &str, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body);
    context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The beginning of an answer.
struct Answer {
    status: StatusCode,
    text: String,
}

impl Answer {
    /// Its text in brackets, fit for a line; nothing when there is none.
    fn words(&self) -> String {
        let visible: String =
            self.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match visible.trim() {
            "" => String::new(),
            text => format!(" ({})", text.chars().take(WORDS_MAX).collect::<String>()),
        }
    }
}

async fn send(request: RequestBuilder, given: Given<'_>) -> Result<Answer, DeliveryError> {
    let exchange = async {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok((Answer { status, text: beginning(response).await }, headers))
    };
    match tokio::time::timeout(given.deadline, exchange).await {
        Ok(Ok((answer, headers))) => judge(answer, &headers, given.channel),
        Ok(Err(error)) => Err(unsent(error, given)),
        Err(_) => Err(given.timed_out()),
    }
}

fn unsent(error: reqwest::Error, given: Given<'_>) -> DeliveryError {
    let source = error.without_url();
    if source.is_timeout() {
        given.timed_out()
    } else if source.is_builder() {
        given.malformed(&source)
    } else {
        let reason = chain(&source);
        DeliveryError::Unreachable { channel: given.channel.into(), reason }
    }
}

/// An error and everything behind it: what matters (refused, a certificate)
/// is at the far end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        words.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    words
}

/// What can be read of an answer's text; its status counts, whatever becomes of it.
async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ANSWER_MAX.saturating_sub(bytes.len()).min(chunk.len());
        bytes.extend_from_slice(&chunk[..room]);
        if bytes.len() >= ANSWER_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn judge(answer: Answer, headers: &HeaderMap, channel: &str) -> Result<Answer, DeliveryError> {
    let (channel, words, status) = (channel.to_owned(), answer.words(), answer.status);
    let later = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    if status.is_success() {
        Ok(answer)
    } else if later || status.is_server_error() {
        let retry_after = retry_after(headers, clock::wall_ms());
        Err(DeliveryError::NotNow { channel, status: status.as_u16(), words, retry_after })
    } else {
        let hint = if status.is_redirection() {
            "redirects are not followed: give the URL that it leads to"
        } else {
            "check the channel's URL and secret, and that the receiver still exists"
        };
        Err(DeliveryError::Refused { channel, status: status.as_u16(), words, hint })
    }
}

/// `Retry-After` as seconds or as a date (RFC 9110, 10.2.3), bounded.
fn retry_after(headers: &HeaderMap, now_ms: u64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = rfc2822::parse(text).ok()?.timestamp().as_millisecond();
            Duration::from_millis(u64::try_from(date).unwrap_or(0).saturating_sub(now_ms))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
pub(super) mod for_tests {
    use super::*;

    pub(in super::super) fn wait_asked_for(value: &str, now_ms: u64) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, now_ms)
    }
}
