//! Receivers that accept, refuse, delay, redirect and vanish; and a file that
//! takes each delivery once.

use super::*;
use daemon::config;
use ring::hmac;
use serde::Deserialize;
use std::{
    error::Error,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{header, method, path},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    notify: Vec<NotifyConfig>,
}

fn channels(text: &str) -> Result<Channels, SetupError> {
    let file: File = config::parse("coordinator.toml", text).unwrap();
    let shown = format!("{:?}", file.notify);
    assert!(!shown.contains("http") && !shown.contains(SECRET), "{shown}");
    let channels = Channels::from_config(&file.notify)?;
    let shown = format!("{channels:?}");
    assert!(!shown.contains("/hook") && !shown.contains(SECRET), "{shown}");
    Ok(channels)
}

fn file(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn slack(server: &MockServer) -> Channels {
    channels(&format!("[[notify]]\nname='s'\nkind='slack'\nurl='{}/hook'\n", server.uri())).unwrap()
}

fn webhook(server: &MockServer, dir: &Path) -> Channels {
    let secret = file(dir, "secret", &format!("{SECRET}\n"), 0o600);
    let url = file(dir, "url", &format!("{}/hook\n", server.uri()), 0o640);
    channels(&format!(
        "[[notify]]\nname='w'\nkind='webhook'\nurl_file='{}'\nsecret_file='{}'\n",
        url.display(),
        secret.display()
    ))
    .unwrap()
}

fn log(path: &Path) -> Channels {
    channels(&format!("[[notify]]\nname='l'\nkind='log'\npath='{}'\n", path.display())).unwrap()
}

fn message(id: u64) -> Message {
    Message {
        id: NotificationId(id),
        severity: Severity::Critical,
        group: Some(GroupId::new("fx").unwrap()),
        incident: Some(IncidentId(3)),
        title: "fx is active on standby <now> & here".into(),
        body: "RTO 3.2 s\nproof 2".into(),
        at: Wall(1_700_000_000_123),
        installation: "lab ü".into(),
    }
}

async fn answering(response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/hook")).respond_with(response).mount(&server).await;
    server
}

async fn requests(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.unwrap()
}

/// Every error's words and sources, where no secret may be.
fn words(error: &DeliveryError) -> String {
    let mut words = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(inner) = source {
        words.push_str(&format!(" {inner}"));
        source = inner.source();
    }
    assert!(!words.contains("/hook") && !words.contains(SECRET), "{words}");
    words
}

#[tokio::test]
async fn slack_gets_one_text() {
    let server = answering(ResponseTemplate::new(200).set_body_string("ok")).await;
    let accepted = slack(&server).deliver("s", &message(9)).await.unwrap();
    assert_eq!((accepted.channel.as_str(), accepted.repeated), ("s", false));
    assert_eq!(accepted.delivery, "lab%20%C3%BC/9/s");
    let body: serde_json::Value = requests(&server).await[0].body_json().unwrap();
    assert_eq!(
        body,
        serde_json::json!({ "text":
            "*[CRITICAL] fx is active on standby &lt;now&gt; &amp; here*\nRTO 3.2 s\nproof 2\n\
             _installation lab ü · group fx · incident 3 · 2023-11-14T22:13:20.123Z · notification 9_"
        })
    );
    let long = Message { body: "x".repeat(9000), group: None, incident: None, ..message(1) };
    slack(&server).deliver("s", &long).await.unwrap();
    let body: serde_json::Value = requests(&server).await[1].body_json().unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(text.chars().count() < 4000 && text.contains("shortened") && !text.contains("group"));
}

#[tokio::test]
async fn slack_that_does_not_say_ok_did_not_take_it() {
    let server = answering(ResponseTemplate::new(200).set_body_string("<html>sign in")).await;
    let error = slack(&server).deliver("s", &message(1)).await.unwrap_err();
    assert!(error.is_worth_retrying());
    assert!(words(&error).contains("sign in"));
    let server = answering(ResponseTemplate::new(404).set_body_string("no_service")).await;
    let error = slack(&server).deliver("s", &message(1)).await.unwrap_err();
    assert!(!error.is_worth_retrying() && error.retry_after().is_none());
    assert!(words(&error).contains("404 (no_service)"), "{}", words(&error));
}

#[tokio::test]
async fn a_webhook_is_signed_and_the_same_at_every_try() {
    let dir = tempfile::tempdir().unwrap();
    let server = MockServer::start().await;
    Mock::given(header("content-type", "application/json"))
        .and(header("understudy-delivery", "lab%20%C3%BC/9/w"))
        .respond_with(ResponseTemplate::new(204))
        .mount(&server)
        .await;
    let channels = webhook(&server, dir.path());
    for _ in 0..2 {
        channels.deliver("w", &message(9)).await.unwrap();
    }
    let sent = requests(&server).await;
    assert_eq!(
        String::from_utf8(sent[0].body.clone()).unwrap(),
        "{\"version\":1,\"delivery\":\"lab%20%C3%BC/9/w\",\"installation\":\"lab ü\",\
         \"notification\":9,\"severity\":\"critical\",\"group\":\"fx\",\"incident\":3,\
         \"title\":\"fx is active on standby <now> & here\",\"body\":\"RTO 3.2 s\\nproof 2\",\
         \"at\":\"2023-11-14T22:13:20.123Z\",\"at_ms\":1700000000123}"
    );
    assert_eq!(sent[0].body, sent[1].body);
    for request in &sent {
        let text = |name: &str| request.headers.get(name).unwrap().to_str().unwrap().to_owned();
        let (timestamp, signature) = (text("understudy-timestamp"), text("understudy-signature"));
        let seconds: u64 = timestamp.parse().unwrap();
        assert!(seconds.abs_diff(daemon::clock::wall_ms() / 1000) < 60);
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signed = [timestamp.as_bytes(), b".", &request.body].concat();
        let hex: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&signature["v1=".len()..][at..at + 2], 16).unwrap())
            .collect();
        hmac::verify(&key, &signed, &hex).unwrap();
        assert_eq!(signature.len(), "v1=".len() + 64);
        assert!(text("user-agent").starts_with("understudy-coordinator/"));
    }
}

#[tokio::test]
async fn answers_say_whether_and_when_to_try_again() {
    let dir = tempfile::tempdir().unwrap();
    let wait = Duration::from_secs;
    let cases = [
        (ResponseTemplate::new(429).insert_header("retry-after", "30"), Some(Some(wait(30)))),
        (ResponseTemplate::new(429).insert_header("retry-after", "86400"), Some(Some(wait(900)))),
        (ResponseTemplate::new(429), Some(None)),
        (ResponseTemplate::new(503).insert_header("retry-after", "soon"), Some(None)),
        (ResponseTemplate::new(500), Some(None)),
        (ResponseTemplate::new(408), Some(None)),
        (ResponseTemplate::new(400).set_body_string("bad\u{1b}[2J json"), None),
        (ResponseTemplate::new(401), None),
        (ResponseTemplate::new(410), None),
        (ResponseTemplate::new(308).insert_header("location", "https://example.org/"), None),
    ];
    for (response, again) in cases {
        let server = answering(response.clone()).await;
        let error = webhook(&server, dir.path()).deliver("w", &message(1)).await.unwrap_err();
        let words = words(&error);
        assert_eq!(error.is_worth_retrying(), again.is_some(), "{words}");
        assert_eq!(error.retry_after(), again.flatten(), "{words}");
        assert!(words.contains("channel `w`") && !error.to_string().contains('\u{1b}'), "{words}");
        assert_eq!(requests(&server).await.len(), 1, "one try a call, no redirects");
    }
}

#[test]
fn a_date_to_wait_for_is_understood() {
    let now = 1_700_000_000_000;
    let asked = |value| http::for_tests::wait_asked_for(value, now);
    assert_eq!(asked("Tue, 14 Nov 2023 22:14:20 GMT"), Some(Duration::from_secs(60)));
    assert_eq!(asked("Tue, 14 Nov 2023 22:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(asked("Mon, 14 Nov 2033 22:00:00 GMT"), Some(RETRY_AFTER_MAX));
    assert_eq!(asked("-5"), None);
}

/// A webhook to a listener that is not an HTTP server.
fn webhook_to(listener: &std::net::TcpListener, dir: &Path) -> Channels {
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let secret = file(dir, "secret", SECRET, 0o600);
    let secret = secret.display();
    channels(&format!(
        "[[notify]]\nname='w'\nkind='webhook'\nurl='{url}'\nsecret_file='{secret}'\n"
    ))
    .unwrap()
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_worth_another_try() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let channels = webhook_to(&listener, dir.path());
    drop(listener);
    let error = channels.deliver("w", &message(1)).await.unwrap_err();
    assert!(error.is_worth_retrying(), "{error}");
    assert!(matches!(error, DeliveryError::Unreachable { .. }), "{error}");
    assert!(words(&error).contains("Connection refused"), "{}", words(&error));
}

#[tokio::test]
async fn a_receiver_that_says_nothing_costs_one_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut channels = webhook_to(&listener, dir.path());
    assert_eq!(channels.deadline, Duration::from_secs(10));
    channels.deadline = Duration::from_millis(200);
    let error = channels.deliver("w", &message(1)).await.unwrap_err();
    assert!(error.is_worth_retrying() && matches!(error, DeliveryError::TimedOut { .. }));
    assert!(words(&error).contains("within 200 ms"));
}

#[tokio::test]
async fn an_unknown_channel_names_the_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    let error = log(&dir.path().join("n.log")).deliver("pager", &message(1)).await.unwrap_err();
    assert!(!error.is_worth_retrying());
    assert!(words(&error).contains("`pager`") && words(&error).contains("`l`"));
    assert!(Channels::default().deliver("x", &message(1)).await.is_err());
}

#[tokio::test]
async fn the_log_takes_each_delivery_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/notifications.log");
    let channels = log(&path);
    assert!(!channels.deliver("l", &message(1)).await.unwrap().repeated);
    assert!(!channels.deliver("l", &message(10)).await.unwrap().repeated);
    assert!(channels.deliver("l", &message(1)).await.unwrap().repeated);
    // Another leader with the same file, and another installation.
    assert!(log(&path).deliver("l", &message(10)).await.unwrap().repeated);
    let other = Message { installation: "other".into(), ..message(1) };
    assert!(!channels.deliver("l", &other).await.unwrap().repeated);
    let text = std::fs::read_to_string(&path).unwrap();
    let ids: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["delivery"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["lab%20%C3%BC/1/l", "lab%20%C3%BC/10/l", "other/1/l"]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn many_at_once_are_all_whole_and_single() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("n.log");
    let channels = log(&path);
    let messages: Vec<_> = (1..=8).flat_map(|id| [message(id), message(id)]).collect();
    let all = messages.iter().map(|message| channels.deliver("l", message));
    let repeated = futures::future::join_all(all).await;
    assert_eq!(repeated.iter().filter(|one| one.as_ref().unwrap().repeated).count(), 8);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 8);
}

#[tokio::test]
async fn a_torn_line_spoils_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("n.log");
    let channels = log(&path);
    channels.deliver("l", &message(1)).await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(!channels.deliver("l", &message(1)).await.unwrap().repeated);
    let text = std::fs::read(&path).unwrap();
    assert_eq!(text, [&whole[..whole.len() / 2], b"\n", &whole[..]].concat());
    assert!(channels.deliver("l", &message(1)).await.unwrap().repeated);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_worth_another_try() {
    // Every write there answers that the disk is full.
    let error = log(Path::new("/dev/full")).deliver("l", &message(1)).await.unwrap_err();
    assert!(error.is_worth_retrying());
    assert!(words(&error).contains("no space is left"), "{}", words(&error));
    let dir = tempfile::tempdir().unwrap();
    let error = log(dir.path()).deliver("l", &message(1)).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Log { .. }), "{error}");
}

#[test]
fn what_cannot_work_is_refused_at_the_start_without_its_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path =
        |name: &str, text: &str, mode| file(dir.path(), name, text, mode).display().to_string();
    let good = path("good", SECRET, 0o600);
    let slack =
        |name: &str, rest: &str| format!("[[notify]]\nname='{name}'\nkind='slack'\n{rest}\n");
    let hook = |secret: &str| {
        format!(
            "[[notify]]\nname='w'\nkind='webhook'\nurl='https://example.org/hook'\nsecret_file='{secret}'\n"
        )
    };
    let url = "url='https://hooks.example.org/hook'";
    let both = format!("{url}\nurl_file='{good}'");
    let cases = [
        (slack("A", url), "a-z"),
        (slack("s", url).repeat(2), "twice"),
        (slack("s", ""), "exactly one"),
        (slack("s", &both), "exactly one"),
        (slack("s", "url='http://hooks.example.org/hook'"), "not encrypted"),
        (slack("s", "url='ftp://hooks.example.org/hook'"), "ftp"),
        (slack("s", "url='hook'"), "cannot be read"),
        (slack("s", &format!("url_file='{}'", path("empty", "\n", 0o600))), "0 bytes"),
        (hook("/no/such/file"), "cannot read /no/such/file"),
        (hook(&path("short", "abc", 0o600)), "holds 3 bytes"),
        (hook(&path("open", SECRET, 0o604)), "chmod o-rwx"),
        (hook(&path("long", &"x".repeat(5000), 0o600)), "5000 bytes"),
        ("[[notify]]\nname='l'\nkind='log'\npath='n.log'\n".into(), "not absolute"),
    ];
    for (text, part) in cases {
        let words = certs::explain(&channels(&text).unwrap_err());
        assert!(words.contains(part) && !words.contains("/hook"), "{part}: {words}");
    }
    assert_eq!(channels(&hook(&good)).unwrap().names().collect::<Vec<_>>(), ["w"]);
    let unknown = "[[notify]]\nname='l'\nkind='log'\npath='/x'\nurl='https://a/hook'\n";
    let words = config::parse::<File>("coordinator.toml", unknown).err().unwrap().to_string();
    assert!(words.contains("coordinator.toml:5:1: notify[0].url"), "{words}");
}
