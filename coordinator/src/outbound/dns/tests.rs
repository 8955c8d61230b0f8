//! Real executables in every mood, and a small DNS server to read back from.

use super::*;
use daemon::config::{self, Faults, Source};
use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{RData, Record, RecordType},
};
use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::net::UdpSocket;

fn script(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join("dns-hook");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    path
}

fn hook_of(text: &str) -> DnsHook {
    let source = Source::new("coordinator.toml", text);
    let config: DnsHookConfig = config::parse_source(&source).unwrap();
    let mut faults = Faults::new();
    config.check(&source, &mut faults);
    assert!(faults.is_empty(), "{faults}");
    DnsHook { pause_first: Duration::from_millis(5), ..DnsHook::new(&config) }
}

fn hook(path: &Path, more: &str) -> DnsHook {
    hook_of(&format!("command = ['{}', '--zone', 'a b']\n{more}", path.display()))
}

fn request() -> DnsSwitch {
    DnsSwitch {
        round: AttemptId(1),
        group: GroupId::new("fx").unwrap(),
        from: Some(SiteId::new("primary").unwrap()),
        to: SiteId::new("standby").unwrap(),
        addresses: vec!["192.0.2.20".into(), "192.0.2.21".into()],
        from_addresses: vec!["192.0.2.10".into()],
        epoch: Epoch(7),
        incident: IncidentId(3),
        plan: PlanId(4),
        dry_run: false,
    }
}

fn switched(outcome: DnsOutcome) -> DnsReport {
    match outcome {
        DnsOutcome::Switched(report) => report,
        other => panic!("expected a switch, got {other}"),
    }
}

fn failed(outcome: DnsOutcome) -> DnsReport {
    assert!(!outcome.hook_succeeded());
    match outcome {
        DnsOutcome::Failed(report) => report,
        other => panic!("expected a failure, got {other}"),
    }
}

#[tokio::test]
async fn the_hook_gets_the_documented_environment_and_input() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(
        dir.path(),
        "cd \"${0%/*}\"; env | grep ^UNDERSTUDY_ | LC_ALL=C sort > env; cat > stdin; \
         echo \"$@\" > args; echo moved",
    );
    let outcome = hook(&path, "").switch(&request()).await;
    assert_eq!(outcome.to_string(), "DNS hook done after 1 attempt: exit code 0: moved");
    assert_eq!(switched(outcome).attempts.len(), 1);
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(
        read("env"),
        "UNDERSTUDY_ADDRESSES=192.0.2.20,192.0.2.21\nUNDERSTUDY_ATTEMPT=1\n\
         UNDERSTUDY_DRY_RUN=0\nUNDERSTUDY_EPOCH=7\nUNDERSTUDY_FROM=primary\n\
         UNDERSTUDY_FROM_ADDRESSES=192.0.2.10\nUNDERSTUDY_GROUP=fx\nUNDERSTUDY_HOOK=dns\n\
         UNDERSTUDY_INCIDENT=3\nUNDERSTUDY_PLAN=4\nUNDERSTUDY_TO=standby\n"
    );
    assert_eq!(
        read("stdin"),
        "{\"version\":1,\"hook\":\"dns\",\"group\":\"fx\",\"from\":\"primary\",\"to\":\"standby\",\
         \"addresses\":[\"192.0.2.20\",\"192.0.2.21\"],\"from_addresses\":[\"192.0.2.10\"],\
         \"epoch\":7,\"incident\":3,\"plan\":4,\"attempt\":1,\"dry_run\":false}\n"
    );
    assert_eq!(read("args"), "--zone a b\n");
}

#[tokio::test]
async fn a_first_activation_and_a_dry_run_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "echo \"$UNDERSTUDY_DRY_RUN,$UNDERSTUDY_FROM,\"; cat");
    // Nothing listens there: a dry run asks no resolver.
    let more = "read_back = { name = 'a.test', resolvers = ['127.0.0.1:1'], timeout = '1s' }";
    let request = DnsSwitch { from: None, from_addresses: vec![], dry_run: true, ..request() };
    let report = switched(hook(&path, more).switch(&request).await);
    assert_eq!(report.read_back, None);
    let Run::Finished(run) = &report.attempts[0].run else { panic!("{report:?}") };
    let text = run.stdout.text();
    assert!(text.starts_with("1,,\n"), "{text}");
    assert!(text.contains("\"from\":null") && text.contains("\"dry_run\":true}"), "{text}");
}

#[tokio::test]
async fn a_hook_that_fails_is_called_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(
        dir.path(),
        "[ $UNDERSTUDY_ATTEMPT -ge 3 ] && exit 0; echo \"try $UNDERSTUDY_ATTEMPT\" >&2; exit 9",
    );
    let report = switched(hook(&path, "").switch(&request()).await);
    let lines: Vec<_> = report.attempts.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["exit code 9: try 1", "exit code 9: try 2", "exit code 0"]);

    let outcome = hook(&path, "attempts = 2").switch(&request()).await;
    assert_eq!(outcome.to_string(), "DNS hook failed after 2 attempts: exit code 9: try 2");
    assert_eq!(failed(outcome).attempts.len(), 2);
}

#[tokio::test]
async fn the_next_leaders_calls_are_numbered_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "echo \"call $UNDERSTUDY_ATTEMPT\" >&2; exit 1");
    let second = DnsSwitch { round: AttemptId(2), ..request() };
    let outcome = hook(&path, "attempts = 2").switch(&second).await;
    assert!(outcome.to_string().ends_with("call 4"), "{outcome}");
    let numbers: Vec<u32> = failed(outcome).attempts.iter().map(|a| a.number).collect();
    assert_eq!(numbers, [3, 4]);
}

#[tokio::test]
async fn a_hook_that_hangs_is_ended_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "echo asking the provider; sleep 600");
    let outcome = hook(&path, "timeout = '200ms'\nattempts = 2").switch(&request()).await;
    let words = outcome.to_string();
    assert!(words.contains("ended at its deadline of 200 ms: asking the provider"), "{words}");
    let report = failed(outcome);
    assert_eq!(report.attempts.len(), 2);
    assert!(report.attempts.iter().all(|attempt| matches!(attempt.run, Run::TimedOut(_))));
}

#[tokio::test]
async fn much_output_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "head -c 200000 /dev/zero | tr '\\0' x >&2; exit 1");
    let outcome = hook(&path, "attempts = 1").switch(&request()).await;
    let words = outcome.to_string();
    assert!(words.len() < 600 && words.contains("183616 more bytes were dropped"), "{words}");
    let report = failed(outcome);
    let Run::Finished(run) = &report.attempts[0].run else { panic!("{report:?}") };
    assert!(run.truncated());
}

#[tokio::test]
async fn a_hook_that_cannot_start_is_not_called_again() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none");
    let outcome = hook(&missing, "").switch(&request()).await;
    assert!(outcome.to_string().contains("does not exist"), "{outcome}");
    assert_eq!(failed(outcome).attempts.len(), 1);
    let plain = script(dir.path(), "exit 0");
    std::fs::set_permissions(&plain, Permissions::from_mode(0o600)).unwrap();
    let outcome = hook(&plain, "").switch(&request()).await;
    assert!(outcome.to_string().contains("chmod +x"), "{outcome}");
    assert_eq!(failed(outcome).attempts.len(), 1);
}

#[test]
fn a_wrong_table_is_refused_with_every_fault() {
    let text = "command = ['dns-hook']\ntimeout = '0s'\nattempts = 11\n\
                [read_back]\nname = 'a..b'\nresolvers = []\ntimeout = '1d'\n";
    let source = Source::new("coordinator.toml", text);
    let table: DnsHookConfig = config::parse_source(&source).unwrap();
    let mut faults = Faults::new();
    table.check(&source, &mut faults);
    let lines: Vec<_> = faults.iter().map(|fault| (fault.line, fault.field.as_str())).collect();
    assert_eq!(
        lines,
        [
            (1, "dns_hook.command"),
            (2, "dns_hook.timeout"),
            (3, "dns_hook.attempts"),
            (5, "dns_hook.read_back.name"),
            (6, "dns_hook.read_back.resolvers"),
            (7, "dns_hook.read_back.timeout"),
        ]
    );
    assert!(config::parse::<DnsHookConfig>("c", "command=['/x']\nretries=1").is_err());
    for (text, port) in [("192.0.2.1", 53), ("192.0.2.1:5353", 5353), ("2001:db8::1", 53)] {
        assert_eq!(text.parse::<ResolverAddress>().unwrap().0.port(), port);
    }
    assert!("ns.example.org".parse::<ResolverAddress>().unwrap_err().contains("192.0.2.53"));
}

/// How the small server answers.
#[derive(Clone)]
enum Mood {
    Answers(Vec<&'static str>),
    NoSuchName,
    ServerFailure,
}

/// A DNS server on loopback, and how often it was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<u32>>,
}

impl Server {
    /// After `flip_after` questions it changes from the first mood to the second.
    async fn start(first: Mood, then: Mood, flip_after: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(0));
        let server = Self { address, asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
                let count = {
                    let mut asked = asked.lock().unwrap();
                    *asked += 1;
                    *asked
                };
                let now = if count > flip_after { &then } else { &first };
                let _ = socket.send_to(&answer(&question, now), peer).await;
            }
        });
        server
    }
}

fn answer(question: &Message, mood: &Mood) -> Vec<u8> {
    let query = question.queries[0].clone();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.add_query(query.clone());
    answer.metadata.recursion_available = true;
    match mood {
        Mood::Answers(addresses) if query.query_type() == RecordType::A => {
            for address in addresses {
                let data = RData::A(address.parse().unwrap());
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
            }
        }
        Mood::Answers(_) => {}
        Mood::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
        Mood::ServerFailure => answer.metadata.response_code = ResponseCode::ServFail,
    }
    answer.to_vec().unwrap()
}

fn read_back(servers: &[&str], timeout: &str) -> String {
    let list: Vec<String> = servers.iter().map(|server| format!("'{server}'")).collect();
    let list = list.join(", ");
    format!(
        "read_back = {{ name = 'trade.example.org', resolvers = [{list}], timeout = '{timeout}' }}"
    )
}

const OLD: [&str; 1] = ["192.0.2.10"];
const NEW: [&str; 2] = ["192.0.2.20", "192.0.2.21"];

#[tokio::test]
async fn read_back_waits_until_every_resolver_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "exit 0");
    let (old, new) = (Mood::Answers(OLD.into()), Mood::Answers(NEW.into()));
    let fast = Server::start(new.clone(), new.clone(), 0).await;
    // Old, then nothing at all, for some questions; no answer may be kept.
    let slow = Server::start(old, new.clone(), 4).await;
    let empty = Server::start(Mood::NoSuchName, new, 4).await;
    let servers = [fast.address.as_str(), &slow.address, &empty.address];
    let report = switched(hook(&path, &read_back(&servers, "20s")).switch(&request()).await);
    let seen = report.read_back.unwrap();
    assert!(seen.complete());
    let addresses: Vec<_> = seen.resolvers.iter().map(|r| r.server.to_string()).collect();
    assert_eq!(addresses, servers);
    assert!(seen.resolvers.iter().all(|r| r.words == "answers 192.0.2.20 192.0.2.21"), "{seen}");
    assert!(*slow.asked.lock().unwrap() > 4 && *empty.asked.lock().unwrap() > 4);
}

#[tokio::test]
async fn read_back_says_who_does_not_agree_and_what_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "exit 0");
    let both = Mood::Answers(vec!["192.0.2.10", "192.0.2.20", "192.0.2.21"]);
    let part = Mood::Answers(vec!["192.0.2.20"]);
    let moods = [both, part, Mood::NoSuchName, Mood::ServerFailure, Mood::Answers(NEW.into())];
    let mut servers = Vec::new();
    for mood in moods {
        servers.push(Server::start(mood.clone(), mood, 0).await);
    }
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let mut addresses: Vec<&str> = servers.iter().map(|server| server.address.as_str()).collect();
    addresses.push(&silent);
    let outcome = hook(&path, &read_back(&addresses, "1s")).switch(&request()).await;
    let line = outcome.to_string();
    assert!(outcome.hook_succeeded() && line.contains("not seen everywhere"), "{line}");
    let DnsOutcome::NotSeen(report) = outcome else { panic!("{line}") };
    let seen = report.read_back.unwrap();
    let wanted = "(wanted 192.0.2.20 192.0.2.21)";
    let words: Vec<_> = seen.resolvers.iter().map(|r| (r.agrees, r.words.as_str())).collect();
    assert_eq!(words[0].1, format!("still answers 192.0.2.10 192.0.2.20 192.0.2.21 {wanted}"));
    assert_eq!(words[1].1, format!("still answers 192.0.2.20 {wanted}"));
    assert_eq!(words[2].1, format!("knows no address of it {wanted}"));
    assert!(words[3].1.starts_with("gives no answer"), "{line}");
    assert!(words[4].0 && words[4].1.starts_with("answers"), "{line}");
    assert!(words[5].1.starts_with("gives no answer"), "{line}");
    assert_eq!(words.iter().filter(|word| word.0).count(), 1);
}

#[tokio::test]
async fn read_back_cannot_compare_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "exit 0");
    let request = DnsSwitch { addresses: vec!["lb.example.org".into()], ..request() };
    let outcome = hook(&path, &read_back(&["127.0.0.1:1"], "1s")).switch(&request).await;
    assert!(outcome.to_string().contains("lb.example.org"), "{outcome}");
    assert!(matches!(outcome, DnsOutcome::NotSeen(_)));
}
