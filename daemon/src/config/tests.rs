//! What an operator reads when a file is wrong, and lengths of time both ways.

use super::*;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    host: String,
    #[serde(default)]
    service: Vec<Service>,
    #[serde(default)]
    channel: Vec<Channel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    name: Spanned<String>,
    stop_timeout: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Channel {
    Log { path: String },
}

fn faults(text: &str) -> Vec<Fault> {
    match parse::<File>("agent.toml", text) {
        Err(ConfigError::Invalid(faults)) => faults.into_iter().collect(),
        other => panic!("expected faults, got {other:?}"),
    }
}

#[test]
fn a_good_file_is_read() {
    let file: File = parse(
        "agent.toml",
        "host = 'p1'\n[[service]]\nname='a'\nstop_timeout='5s'\n[[channel]]\nkind='log'\npath='/x'\n",
    )
    .unwrap();
    assert_eq!(file.host, "p1");
    assert_eq!(file.service[0].name.get_ref(), "a");
    assert_eq!(file.service[0].stop_timeout, Some(Span::from_secs(5)));
    let Channel::Log { path } = &file.channel[0];
    assert_eq!(path, "/x");
}

#[test]
fn an_unknown_field_names_the_valid_ones_and_the_probable_one() {
    let text =
        "host = 'p1'\n[[service]]\nname = 'a'\n\n[[service]]\nname = 'b'\n  stop_timout = '5s'\n";
    let found = &faults(text)[0];
    assert_eq!((found.line, found.column), (7, 3));
    assert_eq!(found.field, "service[1].stop_timout");
    assert!(
        found.message.contains("`name`, `stop_timeout`")
            || found.message.contains("`name` or `stop_timeout`"),
        "{found}"
    );
    assert_eq!(found.hint, "did you mean `stop_timeout`?");
    assert_eq!(found.excerpt, "  |\n7 |   stop_timout = '5s'\n  |   ^^^^^^^^^^^");
    assert!(found.to_string().starts_with("agent.toml:7:3: service[1].stop_timout: unknown field"));
}

#[test]
fn an_unknown_field_of_a_tagged_table_is_found_too() {
    let found = &faults("host='p1'\n[[channel]]\nkind='log'\npath='/x'\nurl='y'\n")[0];
    assert_eq!((found.line, found.column), (5, 1), "{found}");
    assert_eq!(found.field, "channel[0].url");
    let found = &faults("host='p1'\n[[channel]]\nkind='logg'\n")[0];
    assert!(found.message.contains("`log`"), "{found}");
    assert!(found.field.starts_with("channel[0]"), "{found}");
}

#[test]
fn a_missing_field_points_at_its_table() {
    let found = &faults("host='p1'\n[[service]]\nstop_timeout='5s'\n")[0];
    assert_eq!((found.line, found.field.as_str()), (2, "service[0]"), "{found}");
    assert!(found.message.contains("missing field `name`"), "{found}");
}

#[test]
fn a_wrong_length_of_time_says_the_forms() {
    for value in ["5", "'5'", "'5m'", "'s'", "'-1s'", "'1.5s'", "''"] {
        let found =
            &faults(&format!("host='p1'\n[[service]]\nname='a'\nstop_timeout = {value}\n"))[0];
        assert_eq!((found.line, found.column), (4, 16), "{found}");
        assert_eq!(found.field, "service[0].stop_timeout", "{found}");
        assert!(found.message.contains("\"10min\""), "{found}");
    }
    assert!(matches!("99999999999999999999s".parse::<Span>(), Err(SpanError::TooLong { .. })));
    assert!(matches!("999999999999999999d".parse::<Span>(), Err(SpanError::TooLong { .. })));
}

#[test]
fn every_fault_of_the_syntax_is_told() {
    let found = faults("host = \nname == 3\n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found.iter().any(|fault| fault.line == 1) && found.iter().any(|fault| fault.line == 2));
    assert!(found.iter().all(|fault| fault.hint.contains("TOML")));
}

#[test]
fn a_check_of_the_program_points_into_the_file() {
    let source = Source::new("g.toml", "host='ü'\n[[service]]\nname = 'twice'\n");
    let file: File = parse_source(&source).unwrap();
    let mut all = Faults::new();
    all.push(source.fault_at(&file.service[0].name, "service[0].name", "used twice", "rename one"));
    all.push(source.fault_of_file("probe", "there is none", ""));
    assert_eq!(
        all.to_string(),
        "g.toml:3:8: service[0].name: used twice; rename one\ng.toml:1:1: probe: there is none"
    );
    assert!(format!("{all:#}").contains("3 | name = 'twice'\n  |        ^^^^^^^"));
    assert!(Faults::new().or(()).is_ok() && all.or(()).is_err());
}

#[test]
fn an_error_shows_the_line_and_no_secret_in_it() {
    let text =
        "host='p1'\n[[channel]]\nkind='log'\npath='/x'\nurl='https://h.example.org/T/1?x' # y\n";
    let words = parse::<File>("agent.toml", text).unwrap_err().to_string();
    assert!(words.contains("agent.toml:5:1: channel[0].url: unknown field"), "{words}");
    assert!(words.contains("\n5 | url='https://h.example.org******' # y\n  | ^^^"), "{words}");
    let source = Source::new("f", "a = 'ftp://me:pw@h/x' 'http://b/c'");
    let fault = source.fault(4..6, "", "", "");
    assert!(fault.excerpt.contains("'ftp://*********' 'http://b**'"), "{}", fault.excerpt);
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = load::<File>(dir.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml") && missing.contains("--config"), "{missing}");
    let folder = load::<File>(dir.path()).unwrap_err().to_string();
    assert!(folder.contains("directory"), "{folder}");
    let binary = dir.path().join("b.toml");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    assert!(load::<File>(&binary).unwrap_err().to_string().contains("UTF-8"));
    std::fs::File::create(&binary).unwrap().set_len(FILE_MAX + 1).unwrap();
    assert!(matches!(load::<File>(&binary), Err(ConfigError::TooLong { .. })));
}

#[test]
fn lengths_of_time_survive_both_ways() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "span")]
        a: Duration,
        #[serde(default, with = "span_option", skip_serializing_if = "Option::is_none")]
        b: Option<Duration>,
        c: BTreeMap<String, Span>,
    }
    for (text, millis) in [
        ("0s", 0),
        ("500ms", 500),
        ("5s", 5000),
        ("10min", 600_000),
        ("24h", 86_400_000),
        ("90d", 7_776_000_000),
    ] {
        let parsed: Span = text.parse().unwrap();
        assert_eq!(parsed.millis(), millis, "{text}");
        assert_eq!(parsed.to_string().parse::<Span>().unwrap(), parsed);
        let times = Times {
            a: parsed.into(),
            b: (millis > 1000).then_some(parsed.0),
            c: [("x".into(), parsed)].into(),
        };
        let written = toml::to_string(&times).unwrap();
        assert_eq!(toml::from_str::<Times>(&written).unwrap(), times, "{written}");
    }
    assert_eq!(Span::from_millis(86_400_000).to_string(), "1d");
    assert_eq!(Span::from_millis(90_500).to_string(), "90500ms");
    assert_eq!("5 s".parse::<Span>().unwrap(), Span::from_secs(5));
}
