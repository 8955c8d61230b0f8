//! What a `[[probe]]` may say, and what it is told when it may not.

use super::*;

fn read(text: &str) -> Result<ProbeConfig, String> {
    toml::from_str(&format!("name = \"p\"\n{text}")).map_err(|error| error.message().to_owned())
}

const FEED: &str = "kind = \"zeromq\"\ngroup = \"fx\"\nendpoint = \"tcp://127.0.0.1:5556\"\n";

#[test]
fn every_kind_is_read_with_its_defaults() {
    let feed = read(FEED).unwrap();
    let KindConfig::Zeromq(zeromq) = &feed.kind else { panic!("not a feed") };
    assert_eq!(zeromq.endpoint.to_string(), "tcp://127.0.0.1:5556");
    assert_eq!(zeromq.topics, [""]);
    assert_eq!((zeromq.every.as_secs(), zeromq.stale_after.as_secs()), (1, 3));
    assert_eq!(feed.kind(), ProbeKind::Zeromq);

    let disk = read("kind = \"disk\"\npath = \"/\"").unwrap();
    let KindConfig::Disk(disk) = disk.kind else { panic!("not a disk") };
    assert_eq!(disk.free, Levels { warn: Some(15.0), critical: Some(5.0) });

    let host =
        read("kind = \"host\"\nwarn_load_per_core = 1.5\ninterval = \"1s\"\nfall = 5").unwrap();
    assert_eq!((host.interval, host.rules().fall), (Duration::from_secs(1), 5));
    let KindConfig::Host(host) = host.kind else { panic!("not the host") };
    assert_eq!(host.load_per_core.warn, Some(1.5));

    let lag = read(
        "kind = \"watermark\"\ngroup = \"fx\"\ncommand = [\"/bin/lag\", \"-j\"]\nwarn_lag = \"1s\"",
    )
    .unwrap();
    assert_eq!(lag.kind(), ProbeKind::Watermark);
    let KindConfig::Watermark(lag) = lag.kind else { panic!("not a watermark") };
    assert_eq!((lag.warn_lag, lag.critical_lag), (Some(model::Millis(1000)), None));

    let container =
        read("kind = \"container\"\nservice = \"mt4\"\nunknown_means = \"critical\"").unwrap();
    assert_eq!(container.unknown_means, UnknownMeans::Critical);
}

#[test]
fn a_feed_is_read_in_full() {
    let curve = "{ server_key_file = \"/s\", public_key_file = \"/p\", secret_key_file = \"/k\" }";
    let feed = read(&format!(
        "{FEED}socket = \"sub\"\ntopics = [\"tick.\", \"bar.\"]\nevery = \"500ms\"\n\
         stale_after = \"2s\"\ncurve = {curve}\ntimeout = \"300ms\""
    ));
    let KindConfig::Zeromq(zeromq) = feed.unwrap().kind else { panic!("not a feed") };
    assert!(zeromq.curve.is_some() && zeromq.topics.len() == 2);
    for good in ["ipc:///run/feed", "tcp://[::1]:1", "tcp://feed.example.org:65535"] {
        let feed = read(&format!("kind = \"zeromq\"\ngroup = \"fx\"\nendpoint = {good:?}"));
        let KindConfig::Zeromq(zeromq) = feed.unwrap().kind else { panic!("not a feed") };
        assert_eq!(zeromq.endpoint.to_string(), good);
    }
}

#[test]
fn a_watermark_that_makes_no_sense_is_refused_in_words() {
    let base = "kind = \"watermark\"\ngroup = \"fx\"\n";
    for (text, words) in [
        ("kind = \"watermark\"\ncommand = [\"/x\"]".to_owned(), "needs group"),
        (base.to_owned(), "needs command"),
        (format!("{base}command = [\"lag\"]"), "not an absolute path"),
        (
            format!("{base}command = [\"/x\"]\nwarn_lag = \"9s\"\ncritical_lag = \"1s\""),
            "swap them",
        ),
        (format!("{base}command = [\"/x\"]\npath = \"/\""), "`path` belongs to"),
    ] {
        let error = read(&text).expect_err(&text);
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
}

#[test]
fn only_a_sub_socket_is_accepted_and_the_refusal_says_why() {
    for (socket, words) in [
        ("pull", "steals ticks"),
        ("req", "send requests"),
        ("dealer", "send requests"),
        ("rep", "only listens"),
        ("push", "only listens"),
        ("stream", "the only socket type"),
    ] {
        let error = read(&format!("{FEED}socket = {socket:?}")).unwrap_err();
        assert!(error.contains(words) && error.contains("\"sub\""), "{socket}: {error}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let endpoint = |given: &str| format!("kind = \"zeromq\"\ngroup = \"fx\"\nendpoint = {given:?}");
    for (text, words) in [
        ("kind = \"disk\"".to_owned(), "needs path"),
        ("kind = \"disk\"\npath = \"x\"".into(), "not an absolute path"),
        ("kind = \"disk\"\npath = \"/\"\ntopics = []".into(), "belongs to kind = \"zeromq\""),
        ("kind = \"disk\"\npath = \"/\"\nwarn_free_percent = 2".into(), "never be reached"),
        ("kind = \"disk\"\npath = \"/\"\nwarn_free_percent = 200".into(), "between 0 and 100"),
        ("kind = \"host\"\nwarn_cpu_percent = nan".into(), "between 0 and 100"),
        ("kind = \"host\"\nwarn_load_per_core = 9".into(), "critical must be above"),
        ("kind = \"host\"\ninterval = \"1ms\"".into(), "between 100ms and 1h"),
        ("kind = \"host\"\ntimeout = \"2min\"".into(), "between 50ms and 1min"),
        ("kind = \"host\"\nrise = 0".into(), "between 1 and 100"),
        ("kind = \"container\"".into(), "needs service"),
        ("kind = \"ping\"".into(), "unknown variant"),
        ("kind = \"host\"\nfoo = 1".into(), "unknown field `foo`"),
        ("kind = \"zeromq\"\nendpoint = \"tcp://h:1\"".into(), "needs group"),
        ("kind = \"zeromq\"\ngroup = \"fx\"".into(), "needs endpoint"),
        (endpoint("udp://h:1"), "neither tcp:// nor ipc://"),
        (endpoint("tcp://h"), "no port"),
        (endpoint("tcp://h:0"), "no port"),
        (endpoint("tcp://*:5556"), "what the publisher binds"),
        (endpoint("tcp://:5556"), "no host"),
        (endpoint("tcp://::1:5556"), "not one"),
        (endpoint("tcp://[x]:5556"), "no IPv6"),
        (endpoint("tcp://h:1;h:2"), "not allowed"),
        (endpoint("tcp://h:1\\").replace("\\\\", "\\u0000"), "not allowed"),
        (endpoint("ipc://relative"), "not an absolute"),
        (format!("{FEED}topics = []"), "subscribe to nothing"),
        (format!("{FEED}stale_after = \"500ms\""), "between 1s and"),
        (format!("{FEED}curve = {{ server_key_file = \"/s\" }}"), "missing field"),
    ] {
        let error = read(&text).expect_err(&text);
        assert!(error.contains(words), "{text}: {error:?} does not say {words:?}");
    }
}

#[test]
fn levels_count_from_where_they_stand() {
    let levels = Levels { warn: Some(15.0), critical: Some(5.0) };
    assert_eq!(levels.of_scarce(15.1), model::Verdict::Ok);
    assert_eq!(levels.of_scarce(15.0), model::Verdict::Warn);
    assert_eq!(levels.of_scarce(5.0), model::Verdict::Critical);
    let none = Levels { warn: None, critical: None };
    assert_eq!(none.of_load(1e9), model::Verdict::Ok);
    let load = Levels { warn: Some(2.0), critical: Some(8.0) };
    assert_eq!(load.of_load(2.0), model::Verdict::Warn);
    assert_eq!(load.of_load(8.0), model::Verdict::Critical);
}

#[test]
fn an_address_that_is_reached_over_tcp_is_host_and_port() {
    let read = |text: &str| toml::from_str::<ProbeConfig>(&format!("name = \"p\"\n{text}"));
    let probe = read("kind = \"tcp\"\naddress = \"[fd77::2]:7444\"").unwrap();
    assert_eq!(probe.kind(), ProbeKind::Tcp);
    assert!(matches!(probe.kind, KindConfig::Tcp(tcp) if tcp.address == "[fd77::2]:7444"));
    for (text, words) in [
        ("kind = \"tcp\"", "needs address"),
        ("kind = \"tcp\"\naddress = \"s1\"", "has no port"),
        ("kind = \"host\"\naddress = \"s1:7444\"", "belongs to kind = \"tcp\""),
        ("kind = \"recovery\"", "is the agent's own"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
