//! Hooks that answer well, badly, late, twice and not at all; and the example
//! hooks against a provider and a venue over real HTTP.

use super::{FenceConfig, FenceHooks, FenceOutcome, check};
use daemon::config::{Faults, Source, parse_source};
use failover::{FenceOrder, HookVerdict as Verdict, ProofLevel};
use model::{AttemptId, Epoch, GroupId, HostId, IncidentId, PlanId, SiteId, StepId};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    fence: Vec<FenceConfig>,
}

fn faults(text: &str) -> Vec<String> {
    let source = Source::new("coordinator.toml", text);
    let file: File = parse_source(&source).unwrap();
    let mut faults = Faults::new();
    check(&file.fence, &source, &mut faults);
    match faults.or(()) {
        Ok(()) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

fn hooks(command: &[&str], deadline: &str) -> FenceHooks {
    let words: Vec<String> = command.iter().map(|word| format!("{word:?}")).collect();
    let text = format!(
        "[[fence]]\nname = \"power\"\nlevel = 4\ncommand = [{}]\ndeadline = \"{deadline}\"\n",
        words.join(", ")
    );
    let file: File = parse_source(&Source::new("coordinator.toml", text)).unwrap();
    FenceHooks::new(&file.fence)
}

fn order() -> FenceOrder {
    FenceOrder {
        hook: "power".into(),
        level: ProofLevel::Provider,
        plan: PlanId(7),
        step: StepId(1),
        attempt: AttemptId(2),
        group: GroupId::new("fx").unwrap(),
        site: SiteId::new("primary").unwrap(),
        host: HostId::new("p1").unwrap(),
        epoch: Epoch(3),
        incident: IncidentId(9),
    }
}

/// Runs a shell script as the hook.
async fn script(text: &str, deadline: &str) -> FenceOutcome {
    hooks(&["/bin/sh", "-c", text], deadline).call(&order()).await
}

#[test]
fn every_fault_of_a_hook_names_its_field() {
    let good = "[[fence]]\nname = \"power\"\nlevel = 4\ncommand = [\"/bin/true\"]\n";
    assert_eq!(faults(good), Vec::<String>::new());
    let cases = [
        (good.replace("\"power\"", "\"Power!\""), "fence.name"),
        (good.replace("level = 4", "level = 3"), "fence.level"),
        (good.replace("/bin/true", "true"), "fence.command"),
        (good.replace("[\"/bin/true\"]", "[]"), "fence.command"),
        (format!("{good}deadline = \"500ms\"\n"), "fence.deadline"),
        (format!("{good}deadline = \"6min\"\n"), "fence.deadline"),
        (good.repeat(2), "given twice"),
    ];
    for (text, words) in cases {
        let found = faults(&text).join("\n");
        assert!(found.contains(words), "{words}: {found}");
    }
    let many: String = (0..9).map(|n| good.replace("power", &format!("power{n}"))).collect();
    assert!(faults(&many).join("\n").contains("at most 8"), "{:?}", faults(&many));
}

#[tokio::test]
async fn a_hook_is_told_whom_it_is_asked_about() {
    let dir = TempDir::new().unwrap();
    let kept = dir.path().join("input");
    let text = format!("cat > {}; echo '{{\"verdict\":\"failed\"}}'", kept.display());
    let outcome = script(&text, "5s").await;
    assert_eq!(outcome.verdict, Verdict::Failed, "{outcome:?}");
    let input: Value = serde_json::from_str(&fs::read_to_string(kept).unwrap()).unwrap();
    let expected = json!({
        "version": 1, "hook": "power", "group": "fx", "site": "primary", "host": "p1",
        "epoch": 3, "incident": 9, "plan": 7, "step": 1, "attempt": 2, "level": 4,
        "deadline_ms": 5000
    });
    assert_eq!(input, expected);
}

#[tokio::test]
async fn only_one_clear_answer_about_the_right_host_is_a_proof() {
    let good = r#"{"verdict":"confirmed","host":"p1","epoch":3,"detail":"it is off"}"#;
    let outcome = script(&format!("echo '{good}'"), "5s").await;
    assert_eq!((outcome.verdict, outcome.detail.as_str()), (Verdict::Confirmed, "it is off"));
    let unknown = [
        ("exit 1".to_owned(), "exit code 1"),
        (format!("echo '{good}'; exit 3"), "exit code 3"),
        ("exit 0".to_owned(), "not understood"),
        ("echo confirmed".to_owned(), "not understood"),
        (format!("echo '{good}'; echo '{good}'"), "not understood"),
        (format!("echo '{}'", good.replace("\"p1\"", "\"p2\"")), "not host p1"),
        (format!("echo '{}'", good.replace("3", "2")), "not host p1 and epoch 3"),
        (format!("echo '{}'", good.replace("\"host\":\"p1\",", "")), "host (none)"),
        (format!("echo '{}'", good.replace("confirmed", "probably")), "not understood"),
        (format!("echo '{}'", good.replace("{", "{\"verdict\":\"failed\",")), "duplicate"),
        ("head -c 100000 /dev/zero".to_owned(), "more than"),
        ("kill -9 $$".to_owned(), "signal 9"),
    ];
    for (text, words) in unknown {
        let outcome = script(&text, "5s").await;
        assert_eq!(outcome.verdict, Verdict::Unknown, "{text}: {outcome:?}");
        assert!(outcome.detail.contains(words), "{text}: {outcome:?}");
    }
    let none = hooks(&["/nowhere"], "5s");
    assert_eq!(none.call(&order()).await.verdict, Verdict::Unknown);
    assert!(
        none.call(&FenceOrder { hook: "venue".into(), ..order() })
            .await
            .detail
            .contains("no [[fence]] named venue")
    );
}

#[tokio::test]
async fn a_late_answer_is_no_answer_and_nothing_of_the_hook_lives_on() {
    let dir = TempDir::new().unwrap();
    let kept = dir.path().join("pid");
    let begun = Instant::now();
    let text = format!(
        "sleep 60 & echo $! > {}; echo '{{\"verdict\":\"confirmed\",\"host\":\"p1\",\"epoch\":3}}'; wait",
        kept.display()
    );
    let outcome = script(&text, "1s").await;
    assert_eq!(outcome.verdict, Verdict::Unknown, "{outcome:?}");
    assert!(outcome.detail.contains("deadline"), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    let child = fs::read_to_string(kept).unwrap();
    let alive = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z"))
    };
    let patience = Instant::now() + Duration::from_secs(10);
    while alive() {
        assert!(Instant::now() < patience, "the hook's child lives on");
        tokio::task::yield_now().await;
    }
}

/// An example hook with a configuration for the server at `uri`.
struct Example {
    dir: TempDir,
    hook: PathBuf,
}

impl Example {
    fn new(name: &str, uri: &str, change: impl FnOnce(&mut Value)) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/fence");
        let dir = TempDir::new().unwrap();
        let token = dir.path().join("token");
        fs::write(&token, "s3cret\n").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        // The shipped example, with the test's server in it.
        let text = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let text = text
            .replace("https://api.provider.example", uri)
            .replace("https://api.venue.example", uri);
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["token_file"] = json!(token);
        config["every_seconds"] = json!(0.05);
        change(&mut config);
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        Self { dir, hook: folder.join(name) }
    }

    async fn call(&self, deadline: &str) -> FenceOutcome {
        let words = [self.hook.clone(), self.dir.path().join("config.json")];
        let words = words.map(|path| path.display().to_string());
        hooks(&words.each_ref().map(String::as_str), deadline).call(&order()).await
    }
}

/// A provider's machine: `looks` answers "on" that often after it was ordered off.
async fn provider(looks: usize, order: u16) -> (MockServer, Arc<AtomicUsize>) {
    let server = MockServer::start().await;
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    Mock::given(matchers::method("POST"))
        .and(matchers::path("/v1/servers/4711/actions/poweroff"))
        .and(matchers::header("Authorization", "Bearer s3cret"))
        .respond_with(move |_: &Request| {
            counted.fetch_add(1, Ordering::SeqCst);
            ResponseTemplate::new(order).set_body_json(json!({"status": "ok"}))
        })
        .mount(&server)
        .await;
    let (ordered, left) = (Arc::clone(&orders), AtomicUsize::new(looks));
    Mock::given(matchers::method("GET"))
        .and(matchers::path("/v1/servers/4711"))
        .respond_with(move |_: &Request| {
            let waits = ordered.load(Ordering::SeqCst) == 0
                || left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .is_ok();
            let status = if waits { "running" } else { "off" };
            ResponseTemplate::new(200).set_body_json(json!({"server": {"status": status}}))
        })
        .mount(&server)
        .await;
    (server, orders)
}

#[tokio::test]
async fn the_provider_hook_confirms_what_the_provider_shows_and_not_what_it_promises() {
    let (server, orders) = provider(2, 201).await;
    let example = Example::new("http-provider", &server.uri(), |_| {});
    let outcome = example.call("20s").await;
    assert_eq!(outcome.verdict, Verdict::Confirmed, "{outcome:?}");
    assert_eq!(orders.load(Ordering::SeqCst), 1, "ordered once");
    // Off already: the same call again finds it so, and orders nothing.
    let again = example.call("20s").await;
    assert_eq!(
        (again.verdict, orders.load(Ordering::SeqCst)),
        (Verdict::Confirmed, 1),
        "{again:?}"
    );

    // It says "ok" and goes on running: a lie, or a shutdown that hangs.
    let (server, _) = provider(usize::MAX, 200).await;
    let outcome = Example::new("http-provider", &server.uri(), |_| {}).call("6s").await;
    assert_eq!(outcome.verdict, Verdict::Unknown, "{outcome:?}");
    assert!(outcome.detail.contains("still says running"), "{outcome:?}");
}

#[tokio::test]
async fn the_provider_hook_knows_nothing_from_an_api_that_fails() {
    // The order always fails: the machine goes on running.
    let (server, orders) = provider(0, 500).await;
    let broken = Example::new("http-provider", &server.uri(), |config| {
        config["state"]["off"] = json!(["gone"]);
    });
    let outcome = broken.call("6s").await;
    assert_eq!(outcome.verdict, Verdict::Unknown, "{outcome:?}");
    assert!(orders.load(Ordering::SeqCst) > 1, "a 500 is tried again");

    let silent = MockServer::start().await;
    Mock::given(matchers::any())
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .mount(&silent)
        .await;
    let outcome = Example::new("http-provider", &silent.uri(), |_| {}).call("6s").await;
    assert_eq!(outcome.verdict, Verdict::Unknown, "{outcome:?}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = Example::new("http-provider", &format!("http://{closed}"), |_| {});
    let outcome = gone.call("6s").await;
    assert_eq!(outcome.verdict, Verdict::Unknown, "{outcome:?}");
    assert!(outcome.detail.contains("refused"), "{outcome:?}");
}

#[tokio::test]
async fn the_provider_hook_says_what_a_person_must_mend() {
    let (server, _) = provider(0, 201).await;
    let denied = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(ResponseTemplate::new(401)).mount(&denied).await;
    let uri = server.uri();
    let cases = [
        (Example::new("http-provider", &denied.uri(), |_| {}), "check the token"),
        (Example::new("http-provider", &uri, |c| c["hosts"] = json!({})), "does not name host p1"),
        (Example::new("http-provider", "http://192.0.2.1", |_| {}), "not https"),
    ];
    for (example, words) in cases {
        let outcome = example.call("5s").await;
        assert_eq!(outcome.verdict, Verdict::Failed, "{words}: {outcome:?}");
        assert!(outcome.detail.contains(words), "{outcome:?}");
    }
    let open = Example::new("http-provider", &uri, |_| {});
    let token = open.dir.path().join("token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = open.call("5s").await;
    assert!(outcome.detail.contains("chmod 600"), "{outcome:?}");
}

/// A venue with one key and some open orders; `cancels` says whether it does cancel.
async fn venue(cancels: bool) -> (MockServer, Arc<Mutex<Vec<String>>>) {
    let server = MockServer::start().await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let (log, state) = (Arc::clone(&said), Mutex::new(("active", vec![1, 2])));
    Mock::given(matchers::any())
        .respond_with(move |request: &Request| {
            let mut state = state.lock().unwrap();
            let what = format!("{} {}", request.method, request.url.path());
            log.lock().unwrap().push(what.clone());
            match what.as_str() {
                "POST /v1/keys/key-of-the-primary/disable" => state.0 = "disabled",
                "DELETE /v1/orders" if cancels => state.1.clear(),
                "DELETE /v1/orders" | "GET /v1/keys/key-of-the-primary" | "GET /v1/orders" => {}
                _ => return ResponseTemplate::new(404),
            }
            ResponseTemplate::new(200).set_body_json(json!({"status": state.0, "orders": state.1}))
        })
        .mount(&server)
        .await;
    (server, said)
}

#[tokio::test]
async fn the_venue_hook_disables_the_key_before_it_cancels_what_is_open() {
    let (server, said) = venue(true).await;
    let outcome = Example::new("http-venue", &server.uri(), |_| {}).call("20s").await;
    assert_eq!(outcome.verdict, Verdict::Confirmed, "{outcome:?}");
    let said = said.lock().unwrap().clone();
    let at = |start: &str| said.iter().position(|line| line.starts_with(start)).unwrap();
    assert!(at("POST /v1/keys") < at("DELETE /v1/orders"), "{said:?}");

    let (server, _) = venue(false).await;
    let outcome = Example::new("http-venue", &server.uri(), |_| {}).call("6s").await;
    assert_eq!(outcome.verdict, Verdict::Unknown, "{outcome:?}");
    assert!(outcome.detail.contains("still open"), "{outcome:?}");
}
