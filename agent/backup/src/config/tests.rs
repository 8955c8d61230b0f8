//! What an operator reads when a `[[repository]]` or `[[backup]]` is wrong.

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    repository: Vec<RepositoryConfig>,
    #[serde(default)]
    backup: Vec<SourceConfig>,
}

fn read(text: &str) -> Result<Config, ConfigError> {
    let source = Source::new("agent.toml", text);
    let file: File = config::parse_source(&source)?;
    let mut faults = Faults::new();
    check(&source, &file.repository, &file.backup, &mut faults)?;
    let config =
        Config { repositories: file.repository, sources: file.backup, ..Config::default() };
    faults.or(config).map_err(Into::into)
}

const REPOSITORY: &str = "[[repository]]\nname = 'local'\npath = '/r'\npassword_file = '/k'\n";

fn words(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn every_kind_is_read() {
    let config = read(&format!(
        "{REPOSITORY}keep = {{ last = 1, yearly = 2 }}
[[repository]]
name = 'keys'
path = '/s'
password_file = '/k2'
secrets = true
[[backup]]
name = 'etc'
kind = 'paths'
root = '/etc/app'
paths = ['a.toml', 'certs/ca']
exclude = ['certs/ca/cache']
check = ['/bin/check', 'it']
check_timeout = '5s'
keep = {{ daily = 3 }}
[[backup]]
name = 'data'
kind = 'volume'
compose = {{ project = 'mt4', volume = 'data' }}
quiesce = 'pause'
[[backup]]
name = 'settings'
kind = 'container'
container = 'terminal'
path = '/mt4/config'
[[backup]]
name = 'db'
kind = 'command'
compose = {{ project = 'mt4', service = 'db' }}
command = ['pg_dump', '-Fc', 'app']
file = 'app.dump'
timeout = '10min'
[[backup]]
name = 'pki'
kind = 'paths'
root = '/etc/keys'
secret = true
"
    ))
    .unwrap();
    let of = |name: &str| config.source(name).unwrap();
    assert_eq!(of("data").kind.word(), "volume");
    assert_eq!(config.repositories_of(of("data"))[0].name, "local");
    assert_eq!(config.repositories_of(of("pki"))[0].name, "keys");
    assert_eq!(config.keep_of(of("etc"), &config.repositories[0]).daily, 3);
    assert_eq!(config.keep_of(of("data"), &config.repositories[0]).yearly, 2);
    let Kind::Command(db) = &of("db").kind else { panic!("{:?}", of("db")) };
    assert_eq!(db.container, Some(ContainerName::Compose("mt4".into(), "db".into())));
    assert!(!db.stderr_ok);
}

#[test]
fn a_wrong_field_is_told_with_its_place_and_the_fix() {
    for (text, field, hint) in [
        ("kind = 'paths'", "root: missing", "relative to"),
        ("kind = 'paths'\nroot = 'etc'", "root: `etc`", "absolute"),
        ("kind = 'paths'\nroot = '/'", "root", "below `/`"),
        ("kind = 'paths'\nroot = '/e'\npaths = ['../x']", "paths: `../x`", "without `..`"),
        ("kind = 'paths'\nroot = '/e'\npaths = ['/x']", "paths: `/x`", "relative"),
        ("kind = 'paths'\nroot = '/e'\nvolume = 'v'", "volume", "root, paths, exclude"),
        ("kind = 'volume'", "volume: missing", "compose"),
        ("kind = 'volume'\nvolume = 'v'\nquiesce = 'halt'", "quiesce", "`pause`"),
        ("kind = 'command'\ncommand = ['pg_dump']", "command: `pg_dump`", "absolute"),
        ("kind = 'command'", "command: missing", "program"),
        ("kind = 'command'\ncommand = ['/x']\nfile = 'a/b'", "file: `a/b`", "dump.sql"),
        ("kind = 'command'\ncommand = ['/x']\ntimeout = '2d'", "timeout: `2d`", "24h"),
        ("kind = 'container'\npath = '/x'", "container: missing", "NAME"),
        ("kind = 'tape'", "kind", "`volume`"),
        ("kind = 'paths'\nroot = '/e'\nkeep = { last = 0 }", "keep", "keep nothing"),
        ("kind = 'paths'\nroot = '/e'\ncheck = ['true']", "check: `true`", "no shell"),
        ("kind = 'paths'\nroot = '/e'\nrepositry = 'x'", "repositry", "`repository`"),
    ] {
        let words = words(&format!("{REPOSITORY}[[backup]]\nname = 'x'\n{text}\n"));
        assert!(words.starts_with("agent.toml:"), "{text}: {words}");
        assert!(words.contains("backup[0]"), "{text}: {words}");
        assert!(words.contains(field) && words.contains(hint), "{text}: {words}");
    }
    for name in ["", "A", "-x", "a/b", "ü"] {
        let words = words(&format!(
            "{REPOSITORY}[[backup]]\nname = '{name}'\nkind = 'paths'\nroot = '/e'\n"
        ));
        assert!(words.contains("is not a name"), "{name}: {words}");
    }
    let words = words("[[repository]]\nname = 'r'\npath = '/r'\npassword_file = '/r/key'\n");
    assert!(words.contains("the key lies within"), "{words}");
}

#[test]
fn when_a_source_is_copied_is_read_and_checked() {
    let head = format!("{REPOSITORY}[[backup]]\nname = 'x'\nkind = 'paths'\nroot = '/e'\n");
    let config = read(&format!(
        "{head}check = ['/bin/true']\ngroup = 'fx'\non_change = true\nrpo_target = '15min'\n\
         rpo_max = '1h'\nschedule = {{ cron = '0 2 * * *' }}\n\
         verify = [{{ every = '1d', percent = 5 }}, {{ cron = '0 3 1 * *', level = 3 }}]\n"
    ))
    .unwrap();
    let when = &config.source("x").unwrap().when;
    assert!(when.on_change && when.schedule.is_some());
    let proofs: Vec<(u8, u8)> =
        when.verify.iter().map(|turn| (turn.level.into(), turn.percent)).collect();
    assert_eq!(proofs, [(2, 5), (3, 100)]);
    assert_eq!(when.rpo_max, Some(std::time::Duration::from_secs(3600)));
    assert_eq!(when.group.as_deref(), Some("fx"));
    for (text, field, hint) in [
        ("schedule = { every = '1s' }", "every", "between 10s"),
        ("schedule = { cron = '0 2 * *' }", "cron", "five fields"),
        ("schedule = { cron = '0 2 * * *', zone = 'Mars' }", "zone", "tzdata"),
        ("schedule = { evry = '1h' }", "evry", "`every`"),
        ("verify = [{ every = '1h', level = 3 }]", "verify", "`check`"),
        ("verify = [{ every = '1h', level = 1 }]", "level", "2 or 3"),
        ("verify = [{ every = '1h', percent = 0 }]", "percent", "between 1 and 100"),
        ("rpo_target = '2h'\nrpo_max = '1h'", "rpo_target", "more than rpo_max"),
        ("rpo_max = '0s'", "rpo_max", "between 1s"),
    ] {
        let words = words(&format!("{head}{text}\n"));
        assert!(words.contains("backup[0]"), "{text}: {words}");
        assert!(words.contains(field) && words.contains(hint), "{text}: {words}");
    }
    let volume = "[[backup]]\nname = 'x'\nkind = 'volume'\nvolume = 'v'\non_change = true\n";
    let words = words(&format!("{REPOSITORY}{volume}"));
    assert!(words.contains("on_change") && words.contains("short schedule"), "{words}");
}

#[test]
fn names_are_used_once_and_repositories_must_fit() {
    let source = "[[backup]]\nname = 'x'\nkind = 'paths'\nroot = '/e'\n";
    let twice = words(&format!("{REPOSITORY}{source}{source}"));
    assert!(
        twice.contains("agent.toml:10:8: backup[1].name") && twice.contains("line 6"),
        "{twice}"
    );
    let same = words(&format!("{REPOSITORY}{}", REPOSITORY.replace("local", "other")));
    assert!(same.contains("repository[1].path") && same.contains("own directory"), "{same}");
    assert!(words(source).contains("add a [[repository]]"));
    let none = words(&format!("{REPOSITORY}{source}repository = 'tape'\n"));
    assert!(
        none.contains("backup[0].repository") && none.contains("repositories here: local"),
        "{none}"
    );
    let two = REPOSITORY.replace("local", "other").replace("/r", "/r2");
    let which = words(&format!("{REPOSITORY}{two}{source}"));
    assert!(which.contains("one of: local, other"), "{which}");
}

#[test]
fn secrets_never_go_beside_plain_data() {
    let secret = "[[backup]]\nname = 'pki'\nkind = 'paths'\nroot = '/e'\nsecret = true\n";
    let beside = words(&format!("{REPOSITORY}{secret}repository = 'local'\n"));
    assert!(beside.contains("a [[repository]] of their own"), "{beside}");
    let none = words(&format!("{REPOSITORY}{secret}"));
    assert!(none.contains("secrets = true"), "{none}");
    let plain = "[[backup]]\nname = 'x'\nkind = 'paths'\nroot = '/e'\nrepository = 'local'\n";
    let among = words(&format!("{REPOSITORY}secrets = true\n{plain}"));
    assert!(among.contains("for secrets alone"), "{among}");
}

#[test]
fn a_repository_is_in_one_place_that_makes_sense() {
    for (place, hint) in [
        ("", "path, agent, s3, rclone, rest"),
        ("path = '/r'\nrest = { url = 'http://h/r' }", "keep one of"),
        ("path = 'r'", "is not absolute"),
        ("agent = { host = 's1', address = 's1' }", "[peer] advertise"),
        ("agent = { host = '../s1', address = 's1:1' }", "agent.host"),
        ("agent = { host = 's1', address = 's1:1', of = 'p/1' }", "agent.of"),
        ("agent = { host = 's1', address = 's1:1', repository = '..' }", "agent.repository"),
        ("s3 = { endpoint = 's3.example', bucket = 'b' }", "s3.endpoint"),
        ("s3 = { endpoint = 'https://h', bucket = 'a/b' }", "s3.bucket"),
        ("s3 = { endpoint = 'https://h', bucket = 'b', credentials_file = 'c' }", "absolute"),
        ("s3 = { endpoint = 'https://h', bucket = 'b', secret = 'x' }", "unknown field"),
        ("rclone = { remote = '/local' }", "REMOTE:PATH"),
        ("rclone = { remote = '--config=x:y' }", "REMOTE:PATH"),
        ("rest = { url = 'ftp://h/r' }", "rest.url"),
        ("rest = { url = 'https://us:pw@h/r' }", "user_password_file"),
        ("rest = { url = 'https://h/r', user = 'us' }", "user_password_file"),
    ] {
        let text = format!("[[repository]]\nname = 'far'\npassword_file = '/k'\n{place}\n");
        let words = words(&text);
        assert!(words.contains("repository[0]") && words.contains(hint), "{place}: {words}");
        assert!(!words.contains("us:pw"), "{words}");
    }
}

#[test]
fn a_source_goes_to_one_repository_or_to_several() {
    let two = REPOSITORY.replace("local", "other").replace("/r", "/r2");
    let source = "[[backup]]\nname = 'x'\nkind = 'paths'\nroot = '/e'\n";
    let config =
        read(&format!("{REPOSITORY}{two}{source}repository = ['other', 'local']\n")).unwrap();
    let names: Vec<&str> = config
        .repositories_of(config.source("x").unwrap())
        .into_iter()
        .map(|of| of.name.as_str())
        .collect();
    assert_eq!(names, ["other", "local"]);
    for (list, hint) in [
        ("[]", "name one"),
        ("['local', 'local']", "twice"),
        ("['local', 'tape']", "repositories here: local, other"),
        ("7", "list of names"),
    ] {
        let words = words(&format!("{REPOSITORY}{two}{source}repository = {list}\n"));
        assert!(words.contains("backup[0]") && words.contains(hint), "{list}: {words}");
    }
}
