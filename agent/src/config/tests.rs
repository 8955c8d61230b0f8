//! agent.toml: whole files, and every fault with its place.

use super::*;

const GOOD: &str = r#"
host = "p1"
state_dir = "/var/lib/understudy-agent"
coordinators = ["10.0.0.1:7443", "[2001:db8::1]:7443"]

[[service]]
name = "bridge"
group = "fx"
driver = "process"
command = ["/usr/bin/bridge", "--port", "5556"]

[[service]]
name = "mt4"
group = "fx"
driver = "docker"
container = "mt4"

[[probe]]
name = "ticks"
kind = "zeromq"
group = "fx"
endpoint = "tcp://127.0.0.1:5556"
every = "1s"
stale_after = "3s"

[[probe]]
name = "terminal"
kind = "container"
service = "mt4"
"#;

fn faults(text: &str) -> Vec<String> {
    match Config::of(&Source::new("agent.toml", text)) {
        Err(ConfigError::Invalid(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn a_sources_group_has_a_name_of_a_group() {
    let text = "host = 'p1'\nstate_dir = '/v'\n[[repository]]\nname = 'r'\npath = '/r'\n\
                password_file = '/k'\n[[backup]]\nname = 'x'\nkind = 'paths'\nroot = '/e'\n\
                group = 'FX Main'\n";
    let words = Config::of(&Source::new("agent.toml", text)).unwrap_err().to_string();
    assert!(words.starts_with("agent.toml:11:") && words.contains("backup[0].group"), "{words}");
}

#[test]
fn a_whole_file_is_read() {
    let config = Config::of(&Source::new("agent.toml", GOOD)).unwrap();
    assert_eq!((config.host.as_str(), config.services.len(), config.probes.len()), ("p1", 2, 2));
    assert_eq!(config.pki(), Path::new("/var/lib/understudy-agent/pki"));
    let least = "host = \"p1\"\nstate_dir = \"/x\"\n";
    assert!(Config::of(&Source::new("agent.toml", least)).unwrap().coordinators.is_none());
}

#[test]
fn each_fault_has_its_place_its_field_and_a_hint() {
    for (from, to, expected) in [
        (
            "\"/var/lib/understudy-agent\"",
            "\"state\"",
            "agent.toml:3:13: state_dir: `state` is not",
        ),
        ("10.0.0.1:7443", "10.0.0.1", "agent.toml:4:17: coordinators[0]: `10.0.0.1` is not of the"),
        (
            "\"mt4\"\ngroup",
            "\"bridge\"\ngroup",
            "agent.toml:13:8: service[1].name: a service `bridge` is in line 7",
        ),
        (
            "name = \"terminal\"",
            "name = \"ticks\"",
            "agent.toml:27:8: probe[1].name: a probe `ticks`",
        ),
        (
            "service = \"mt4\"",
            "service = \"mt5\"",
            "agent.toml:29:11: probe[1].service: there is no service `mt5`; services here: bridge, mt4",
        ),
        ("service = \"mt4\"", "service = \"bridge\"", "is no container"),
        (
            "service = \"mt4\"",
            "service = \"mt4\"\ngroup = \"metals\"",
            "is of group `fx`, the probe of `metals`",
        ),
        (
            "host = \"p1\"",
            "host = \"P 1\"",
            "agent.toml:2:8: host: the host name `P 1` may not hold",
        ),
        ("endpoint = \"tcp", "endpoint = \"udp", "endpoint `udp://127.0.0.1:5556`"),
        ("\"/usr/bin/bridge\"", "\"bridge\"", "is not an absolute path"),
        ("driver = \"docker\"", "driver = \"docker\"\nimage = \"x\"", "image"),
    ] {
        let told = faults(&with(from, to));
        // A name that is gone is missed where it was used as well.
        assert!(told.len() == 1 || to.contains("bridge"), "{to}: {told:?}");
        assert!(told[0].contains(expected), "{to}: {told:?}");
    }
    let twice =
        "\n[[service]]\nname = \"again\"\ngroup = \"fx\"\ndriver = \"docker\"\ncontainer = \"mt4\"";
    let told = faults(&format!("{GOOD}{twice}"));
    assert!(told[0].contains("container `mt4` is service `mt4` already"), "{told:?}");
}

#[test]
fn all_faults_are_told_at_once() {
    let text = with("\"/usr/bin/bridge\"", "\"bridge\"")
        .replace("endpoint = \"tcp", "endpoint = \"udp")
        .replace("container = \"mt4\"", "container = \"../mt4\"");
    let told = faults(&text);
    assert_eq!(told.len(), 3, "{told:?}");
    for (line, words) in [(6, "`bridge`"), (12, "`mt4`"), (18, "`ticks`")] {
        let found = told.iter().find(|fault| fault.contains(words)).unwrap();
        let at: usize = found.split(':').nth(1).unwrap().parse().unwrap();
        assert!((line..line + 7).contains(&at), "{found}");
    }
    let text = with("\"/var/lib/understudy-agent\"", "\"x\"").replace("10.0.0.1:7443", "c");
    assert_eq!(faults(&text).len(), 2);
}

#[test]
fn the_gate_and_the_watchdog_are_read() {
    let more = format!(
        "{GOOD}\n[gate]\ntable = \"understudy_b\"\n[watchdog]\ndevice = \"/dev/watchdog\"\n\
         timeout = \"5s\"\n"
    );
    let config = Config::of(&Source::new("agent.toml", more)).unwrap();
    assert!(config.gate.enabled && config.gate.table == "understudy_b");
    assert_eq!(config.watchdog.unwrap().timeout.as_secs(), 5);
    let plain = Config::of(&Source::new("agent.toml", GOOD)).unwrap();
    assert!(plain.gate.enabled && plain.watchdog.is_none());
    let found = faults(&format!("{GOOD}\n[gate]\ntable = \"filter\"\n"));
    assert!(found.iter().any(|fault| fault.contains("no name for the gate's table")), "{found:?}");
}

#[test]
fn the_example_of_backups_is_good_without_its_marks() {
    let example = include_str!("../../../packaging/config/agent.toml");
    assert!(Config::of(&Source::new("agent.toml", example)).is_ok(), "as it is installed");
    let (_, backups) = example.split_once("# Backups: ").unwrap();
    let is_toml = |line: &&str| line.starts_with("[[") || line.contains(" = ");
    let lines = backups.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_toml);
    let text = format!("{GOOD}\n{}", lines.collect::<Vec<_>>().join("\n"));
    let config = Config::of(&Source::new("agent.toml", text)).unwrap();
    assert_eq!(config.backup.sources.len(), 4);
    assert_eq!(config.backup.exclusive, [ContainerName::Name("mt4".into())]);
}

#[test]
fn a_fault_of_a_backup_is_told_beside_the_others() {
    let wrong = "[[backup]]\nname = 'x'\nkind = 'paths'\n";
    let found = faults(&format!("{}\n{wrong}", with("every = \"1s\"", "every = 1")));
    assert!(found.iter().any(|fault| fault.contains("probe[0]")), "{found:?}");
    assert!(found.iter().any(|fault| fault.contains("backup[0]: root: missing")), "{found:?}");
}
