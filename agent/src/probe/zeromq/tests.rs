//! The probe against publishers of libzmq in another language (pyzmq).

use super::*;
use crate::{
    probe::Probes,
    service::{ServiceRoom, Services},
};
use model::{GroupId, ProbeName, Reading};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const PYTHON: &str = "/usr/bin/python3";

fn pyzmq_is_there() -> bool {
    let there = Command::new(PYTHON).args(["-c", "import zmq"]).output();
    if there.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var("UNDERSTUDY_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "UNDERSTUDY_REQUIRE_ALL=1, and there is no python3-zmq");
    eprintln!("skipped: no python3-zmq");
    false
}

struct Publisher {
    child: Child,
    stdin: ChildStdin,
    out: BufReader<ChildStdout>,
    endpoint: String,
}

impl Publisher {
    fn new(kind: &str, endpoint: &str, key: Option<&str>) -> Self {
        let mut child = Command::new(PYTHON)
            .args(["-u", "-c", include_str!("publisher.py"), kind, endpoint])
            .args(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut publisher =
            Self { child, stdin, out: BufReader::new(out), endpoint: String::new() };
        publisher.endpoint = publisher.line();
        publisher
    }

    fn on_any_port(kind: &str) -> Self {
        Self::new(kind, "tcp://127.0.0.1:*", None)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn tell(&mut self, what: &serde_json::Value) {
        writeln!(self.stdin, "{what}").unwrap();
    }

    /// Goes on sending these messages.
    fn steady(&mut self, messages: &[&[&[u8]]]) {
        let messages: Vec<Vec<String>> =
            messages.iter().map(|frames| frames.iter().map(|frame| hex(frame)).collect()).collect();
        self.tell(&serde_json::json!({ "steady": messages }));
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Lab {
    probes: Probes,
    name: ProbeName,
    group: GroupId,
}

impl Lab {
    /// A probe that is quick to tell, of a group that is expected here.
    fn new(endpoint: &str, more: &str) -> Self {
        let config: ProbeConfig = toml::from_str(&format!(
            "name = \"ticks\"\nkind = \"zeromq\"\ngroup = \"fx\"\nendpoint = {endpoint:?}\n\
             interval = \"100ms\"\ntimeout = \"500ms\"\nevery = \"100ms\"\n\
             stale_after = \"700ms\"\n{more}"
        ))
        .unwrap();
        let services = Services::open(&[], &ServiceRoom::new("/nonexistent")).unwrap();
        let probes = Probes::spawn(&[config], &services).unwrap();
        let lab = Self {
            probes,
            name: ProbeName::new("ticks").unwrap(),
            group: GroupId::new("fx").unwrap(),
        };
        lab.probes.expect(&lab.group, true);
        lab
    }

    fn reading(&self) -> Reading {
        self.probes.readings(Mono(boottime_ms())).remove(0)
    }

    async fn until(&self, what: &str, fits: impl Fn(&Reading) -> bool) -> Reading {
        let started = Instant::now();
        loop {
            let reading = self.reading();
            if fits(&reading) {
                return reading;
            }
            assert!(started.elapsed() < PATIENCE, "never {what}: {reading:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_verdict(&self, verdict: Verdict) -> Reading {
        self.until(verdict.word(), |reading| reading.verdict == verdict).await
    }

    async fn until_said(&self, words: &str) -> Reading {
        self.until(words, |reading| reading.summary.contains(words)).await
    }
}

const TICK: &[&[u8]] = &[b"tick.EURUSD", br#"{"symbol":"EURUSD","bid":1.1,"timestamp":1}"#];

#[tokio::test]
async fn two_frames_with_a_topic_are_fresh_whatever_their_own_time_says() {
    if !pyzmq_is_there() {
        return;
    }
    let mut publisher = Publisher::on_any_port("PUB");
    let lab = Lab::new(&publisher.endpoint, "topics = [\"tick.\"]");
    publisher.steady(&[TICK, &[b"stats", b"{}"]]);
    let fresh = lab.until_verdict(Verdict::Ok).await;
    assert!(fresh.summary.starts_with("fresh: the newest message is"), "{}", fresh.summary);
    assert_eq!(fresh.measures["layer"], 6);
    let rated = lab.until("a rate", |reading| reading.measures["rate_per_s"] > 0).await;
    assert!(rated.measures["bytes"] >= rated.measures["messages"] * 40);
    // `stats` flows on when the ticks have stopped (rule 6's trap).
    publisher.steady(&[&[b"stats", b"{}"]]);
    let stale = lab.until_verdict(Verdict::Critical).await;
    assert!(stale.summary.starts_with("stale: the newest message is"), "{}", stale.summary);
    assert!(stale.summary.contains("sends nothing to topic `tick.`"), "{}", stale.summary);
    // Nothing of a message's content is told.
    assert!(!format!("{fresh:?}{stale:?}").contains("EURUSD"));
}

#[tokio::test]
async fn any_bytes_in_any_frames_count_as_traffic() {
    if !pyzmq_is_there() {
        return;
    }
    for frames in [
        &[&b"EURUSD:|:1.10012;1.10015"[..]][..],
        &[b"\xff\xfe\x00\x80garbage"],
        &[b""],
        &[b"", b"\xc3\x28", b"{", b""],
    ] {
        let mut publisher = Publisher::on_any_port("PUB");
        let lab = Lab::new(&publisher.endpoint, "");
        publisher.steady(&[frames]);
        lab.until_verdict(Verdict::Ok).await;
    }
}

#[tokio::test]
async fn a_silent_publisher_is_connected_and_critical() {
    if !pyzmq_is_there() {
        return;
    }
    let publisher = Publisher::on_any_port("PUB");
    let lab = Lab::new(&publisher.endpoint, "");
    let mute = lab.until_verdict(Verdict::Critical).await;
    assert!(mute.summary.starts_with("no message at all for"), "{}", mute.summary);
    assert!(mute.summary.contains("connected and subscribed, but the publisher sends nothing"));
    assert_eq!(mute.measures["layer"], 4);
    assert_eq!(lab.probes.feed(&lab.name).unwrap().last_received, None);
}

#[tokio::test]
async fn a_feed_that_is_not_expected_here_only_waits() {
    if !pyzmq_is_there() {
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let lab = Lab::new(&format!("tcp://127.0.0.1:{port}"), "");
    lab.probes.expect(&lab.group, false);
    let waits = lab.until_said("nothing listens there").await;
    assert_eq!(waits.verdict, Verdict::Unknown);
    assert!(waits.summary.starts_with("waiting: the publisher's service is not started here"));
    // The promotion: the feed gets its usual patience, then it has failed.
    lab.probes.expect(&lab.group, true);
    lab.until_said("no message yet since").await;
    let failed = lab.until_verdict(Verdict::Critical).await;
    assert!(failed.summary.contains("nothing listens there"), "{}", failed.summary);
    assert_eq!(failed.measures["layer"], 1);
    // The publisher is started, and its first message is counted from the promotion.
    let mut publisher = Publisher::new("PUB", &format!("tcp://127.0.0.1:{port}"), None);
    publisher.steady(&[TICK]);
    let fresh = lab.until_verdict(Verdict::Ok).await;
    assert!(fresh.measures["first_message_after_reset_ms"] > 0);
    // A standby of the same broker may hear ticks: that is fresh, too.
    lab.probes.expect(&lab.group, false);
    lab.until("fresh without a reset", |reading| {
        reading.verdict == Verdict::Ok
            && !reading.measures.contains_key("first_message_after_reset_ms")
    })
    .await;
}

#[tokio::test]
async fn an_http_server_on_the_port_is_no_publisher() {
    if !pyzmq_is_there() {
        return;
    }
    let mut http = Command::new(PYTHON)
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // "Serving HTTP on 127.0.0.1 port 40000 (http://127.0.0.1:40000/) ..."
    let mut said = String::new();
    BufReader::new(http.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let port = said.split(' ').skip_while(|word| *word != "port").nth(1).unwrap();
    let lab = Lab::new(&format!("tcp://127.0.0.1:{port}"), "");
    let found = lab.until_said("no ZMTP greeting").await;
    let critical = lab.until_verdict(Verdict::Critical).await;
    http.kill().unwrap();
    http.wait().unwrap();
    assert!(found.summary.contains("TCP open, no ZMTP greeting: not a ZeroMQ publisher"));
    assert!(found.summary.contains("HTTP server"), "{}", found.summary);
    assert_eq!(critical.measures["layer"], 2);
    // The right one comes up in its place: libzmq's own socket would never try again.
    let mut publisher = Publisher::new("PUB", &format!("tcp://127.0.0.1:{port}"), None);
    publisher.steady(&[TICK]);
    lab.until_verdict(Verdict::Ok).await;
}

#[tokio::test]
async fn a_publisher_that_restarts_is_heard_again() {
    if !pyzmq_is_there() {
        return;
    }
    let mut publisher = Publisher::on_any_port("PUB");
    let lab = Lab::new(&publisher.endpoint, "");
    publisher.steady(&[TICK]);
    lab.until_verdict(Verdict::Ok).await;
    let endpoint = publisher.endpoint.clone();
    drop(publisher);
    let stale = lab.until_said("nothing listens there").await;
    assert!(stale.measures["layer"] >= 1);
    lab.until_verdict(Verdict::Critical).await;
    let before = lab.probes.feed(&lab.name).unwrap();
    let mark = lab.probes.mark(&lab.name).unwrap();
    assert_eq!(mark.progress(), FeedProgress { messages: 0, first_after: None });
    let mut publisher = Publisher::new("PUB", &endpoint, None);
    publisher.steady(&[TICK]);
    let first = mark.until_first(PATIENCE).await;
    assert!(first.first_after.is_some() && first.messages > 0, "{first:?}");
    let fresh = lab.until_verdict(Verdict::Ok).await;
    assert_eq!(fresh.measures["connects"], 2);
    let after = lab.probes.feed(&lab.name).unwrap();
    assert!(after.total_messages > before.total_messages);
    assert!(after.last_received > before.last_received);
    assert_eq!(after.verdict, Verdict::Ok);
    assert_eq!(lab.probes.feeds_of(&lab.group).collect::<Vec<_>>(), [&lab.name]);
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() >> 10
}

#[tokio::test]
async fn a_flood_is_counted_in_bounded_memory() {
    if !pyzmq_is_there() {
        return;
    }
    let mut publisher = Publisher::on_any_port("PUB");
    let lab = Lab::new(&publisher.endpoint, "");
    publisher.steady(&[TICK]);
    lab.until_verdict(Verdict::Ok).await;
    let before = resident_mib();
    let big = "ab".repeat(60_000);
    publisher.tell(&serde_json::json!({ "frames": [big], "count": 8000, "every": 0 }));
    // A PUB drops what does not fit into its queue of 1000 messages, so on a busy
    // machine little more than that comes; what follows is said until it is heard.
    lab.until("some of the flood", |reading| reading.measures["bytes"] > 40_000_000).await;
    let many: Vec<&str> = vec!["00"; 100];
    publisher.tell(&serde_json::json!({ "steady": [many], "every": 0.02 }));
    lab.until("dropped ones", |reading| reading.measures["dropped"] > 0).await;
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < 24, "{grown} MiB more");
    // A frame above the limit ends the connection, which comes back.
    let huge = "cd".repeat(300_000);
    let connects = lab.reading().measures["connects"];
    publisher.tell(&serde_json::json!({ "steady": [[huge]], "every": 0.1 }));
    lab.until("another connection", |reading| reading.measures["connects"] > connects).await;
    publisher.steady(&[TICK]);
    let total = lab.probes.feed(&lab.name).unwrap().total_messages;
    lab.until("more", |reading| reading.measures["messages"] > i64::try_from(total).unwrap()).await;
}

/// Keys in files for both sides; gives the publisher's secret and the probe's configuration.
fn keys(dir: &std::path::Path, server: Option<&zmq::CurveKeyPair>) -> (String, String) {
    let (pair, own) = (zmq::CurveKeyPair::new().unwrap(), zmq::CurveKeyPair::new().unwrap());
    let file = |name: &str, key: &[u8; 32]| {
        let path = dir.join(name);
        fs::write(&path, zmq::z85_encode(key).unwrap() + "\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let server_key = server.map_or(pair.public_key, |other| other.public_key);
    let config = format!(
        "curve = {{ server_key_file = {:?}, public_key_file = {:?}, secret_key_file = {:?} }}",
        file("server", &server_key),
        file("public", &own.public_key),
        file("secret", &own.secret_key),
    );
    (zmq::z85_encode(&pair.secret_key).unwrap(), config)
}

#[tokio::test]
async fn curve_works_and_every_mismatch_is_said() {
    if !pyzmq_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (secret, config) = keys(dir.path(), None);
    let any = "tcp://127.0.0.1:*";
    let mut curved = Publisher::new("PUB", any, Some(&secret));
    curved.steady(&[TICK]);
    let right = Lab::new(&curved.endpoint, &config);
    right.until_verdict(Verdict::Ok).await;

    // Without keys a SUB hears nothing at all, and libzmq says nothing.
    let without = Lab::new(&curved.endpoint, "");
    let found = without.until_said("wants CURVE and this probe has no keys").await;
    assert_eq!(found.measures["layer"], 3);
    without.until_verdict(Verdict::Critical).await;

    let other = tempfile::tempdir().unwrap();
    let (_, wrong) = keys(other.path(), Some(&zmq::CurveKeyPair::new().unwrap()));
    let wrong = Lab::new(&curved.endpoint, &wrong);
    wrong.until_said("is server_key_file the publisher's public key").await;

    let plain = Publisher::on_any_port("PUB");
    let needless = Lab::new(&plain.endpoint, &config);
    needless.until_said("this probe has CURVE keys and the publisher wants NULL").await;

    fs::remove_file(dir.path().join("server")).unwrap();
    let no_key = Lab::new(&curved.endpoint, &config);
    no_key.until_said("cannot read the CURVE key").await;
}

#[tokio::test]
async fn a_push_socket_is_named_and_loses_nothing_to_the_probe() {
    if !pyzmq_is_there() {
        return;
    }
    let mut pusher = Publisher::on_any_port("PUSH");
    let lab = Lab::new(&pusher.endpoint, "");
    let found = lab.until_said("it is a PUSH socket").await;
    assert!(found.summary.contains("would steal them"), "{}", found.summary);
    pusher.tell(&serde_json::json!({ "frames": ["00"], "count": 200, "every": 0.002 }));
    pusher.tell(&serde_json::json!({ "pulled": true }));
    assert_eq!(pusher.line(), "200");
    let replier = Publisher::on_any_port("REP");
    let lab = Lab::new(&replier.endpoint, "");
    lab.until_said("it is a REP socket; only a PUB socket can be watched").await;
}

#[tokio::test]
async fn a_local_socket_file_is_a_feed_like_any_other() {
    if !pyzmq_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let endpoint = format!("ipc://{}", dir.path().join("feed").display());
    let lab = Lab::new(&endpoint, "");
    lab.until_said("there is no such socket").await;
    let mut publisher = Publisher::new("XPUB", &endpoint, None);
    publisher.steady(&[TICK]);
    lab.until_verdict(Verdict::Ok).await;
}

fn zeromq() -> ZeromqConfig {
    ZeromqConfig {
        endpoint: crate::probe::Endpoint::Ipc("/x".into()),
        topics: vec![String::new()],
        every: Duration::from_secs(1),
        stale_after: Duration::from_secs(3),
        curve: None,
    }
}

#[test]
fn an_earlier_activations_messages_do_not_count_against_this_one() {
    let judged = |last: Option<u64>, since: Option<u64>, now: u64| {
        let reached = (Layer::Subscribed, "words".to_owned());
        judge(&zeromq(), reached, last.map(Mono), since.map(Mono), Mono(now)).verdict
    };
    // Active long ago, promoted again at 100 s.
    assert_eq!(judged(Some(1_000), Some(100_000), 103_000), Verdict::Unknown);
    assert_eq!(judged(Some(1_000), Some(100_000), 103_001), Verdict::Critical);
    assert_eq!(judged(None, Some(100_000), 103_001), Verdict::Critical);
    assert_eq!(judged(Some(1_000), None, 103_000), Verdict::Unknown);
    assert_eq!(judged(Some(101_000), None, 103_000), Verdict::Ok);
    // Never a verdict from a clock that went back.
    assert_eq!(judged(Some(u64::MAX), Some(u64::MAX), 0), Verdict::Ok);
}
