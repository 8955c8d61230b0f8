//! An `init` that died at any point is repeated; one that finished is not.

use super::*;
use std::os::unix::fs::PermissionsExt;

struct Home {
    _root: tempfile::TempDir,
    args: Init,
    global: Global,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let args = Init {
            installation: "lab".into(),
            coordinator: "c1".into(),
            advertise: "127.0.0.1:7443".into(),
            coordinator_state: root.path().join("state"),
            operator: "ann".into(),
        };
        let global = Global {
            context: Some(root.path().join("config/understudy")),
            timeout: std::time::Duration::from_secs(1),
            json: false,
        };
        Self { _root: root, args, global }
    }

    /// Whether an unfinished one was cleaned up first.
    fn run(&self) -> Result<bool, Failure> {
        let wanted = Wanted::check(&self.args, &self.global)?;
        perform(&wanted).map(|(made, repeated)| {
            let text = format!("{}\n{}", text(&made), next(&wanted, &self.global));
            assert!(text.contains("installation lab") && text.contains("token create"), "{text}");
            repeated
        })
    }

    fn state(&self, name: &str) -> PathBuf {
        self.args.coordinator_state.join(name)
    }

    fn context(&self, name: &str) -> PathBuf {
        self.global.context.as_ref().unwrap().join(name)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_makes_everything_with_the_right_modes() {
    let home = Home::new();
    assert_eq!(home.run(), Ok(false));
    for secret in ["authority.key", "identity.key"] {
        assert_eq!(mode(&home.state("pki").join(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(&home.context("identity.key")), 0o600);
    assert_eq!(mode(&home.state("pki")), 0o700);
    assert_eq!(mode(&home.context("")), 0o700);
    assert!(!home.state(UNFINISHED).exists() && !home.context("authority.key").exists());
    let founding: serde_json::Value =
        serde_json::from_slice(&fs::read(home.state(FOUNDING)).unwrap()).unwrap();
    assert_eq!(
        (&founding["name"], &founding["advertise"]),
        (&"c1".into(), &"127.0.0.1:7443".into())
    );
    let operator = certs::Trust::load(home.context("")).unwrap().leaf();
    assert_eq!(founding["certificates"][1]["serial"], operator.serial);
    assert_eq!(founding["certificates"][1]["identity"], operator.identity.uri());
    assert_eq!(founding["certificates"][0]["identity"], "understudy://lab/coordinator/c1");
    let context = Context::load(home.global.context.as_deref()).unwrap();
    assert_eq!(context.coordinators, ["127.0.0.1:7443"]);
    let operator = certs::Trust::load(home.context("")).unwrap().identity();
    assert_eq!(operator.uri(), "understudy://lab/operator/admin/ann");
    let coordinator = certs::Trust::load(home.state("pki")).unwrap().identity();
    assert_eq!(coordinator.uri(), "understudy://lab/coordinator/c1");
    assert!(Authority::load(&home.state("pki")).is_ok());
}

#[test]
fn nothing_that_is_there_is_replaced() {
    let home = Home::new();
    home.run().unwrap();
    let key = fs::read(home.state("pki/authority.key")).unwrap();
    let again = home.run().unwrap_err();
    assert!(again.message.contains("authority.key is there already"), "{again}");
    assert_eq!(fs::read(home.state("pki/authority.key")).unwrap(), key);

    let mut other = Home::new();
    other.global.context.clone_from(&home.global.context);
    let failure = other.run().unwrap_err();
    assert!(failure.message.contains("context.toml is there already"), "{failure}");
    assert!(failure.hint.contains("--context"), "{}", failure.hint);
    assert!(!other.state("pki/authority.key").exists());

    let used = Home::new();
    fs::create_dir_all(&used.args.coordinator_state).unwrap();
    fs::write(used.state(JOURNAL), "x").unwrap();
    assert!(used.run().unwrap_err().message.contains("journal"));
}

/// Every state that a crash can leave: the marker with more and more of the files.
#[test]
fn an_init_that_died_is_repeated() {
    let left = [
        "pki/authority.key",
        "pki/authority.pem",
        "pki/identity.key.next",
        "pki/identity.pem",
        FOUNDING,
    ];
    for upto in 0..=left.len() {
        let home = Home::new();
        durable::create_private_dir(&home.args.coordinator_state).unwrap();
        durable::create_private_dir(&home.state("pki")).unwrap();
        durable::create_private_dir(&home.context("")).unwrap();
        let marker = Unfinished { context: home.context("") };
        write_json(&home.state(UNFINISHED), &marker).unwrap();
        for name in &left[..upto] {
            fs::write(home.state(name), "half").unwrap();
        }
        let hidden = home.state("pki/.identity.key.next.77.0.new");
        fs::write(&hidden, "half").unwrap();
        if upto > 3 {
            fs::write(home.context("identity.pem"), "half").unwrap();
            fs::write(home.context(context::FILE), "half").unwrap();
        }
        assert_eq!(home.run(), Ok(true), "after {upto} files");
        assert!(certs::Trust::load(home.context("")).is_ok());
        assert!(!home.state(UNFINISHED).exists() && !hidden.exists());
    }
}

#[test]
fn keys_are_not_written_through_a_link() {
    let home = Home::new();
    durable::create_private_dir(&home.args.coordinator_state).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), home.state("pki")).unwrap();
    assert!(home.run().unwrap_err().message.contains("is a link"));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn names_and_addresses_are_checked_first() {
    for change in [
        |args: &mut Init| args.advertise = "c1".into(),
        |args: &mut Init| args.advertise = "c1:0".into(),
        |args: &mut Init| args.installation = "My Lab".into(),
        |args: &mut Init| args.coordinator = String::new(),
        |args: &mut Init| args.operator = "Ann".into(),
    ] {
        let mut home = Home::new();
        change(&mut home.args);
        let failure = home.run().unwrap_err();
        assert_eq!(failure.end.code(), 2, "{failure}");
        assert!(!home.args.coordinator_state.exists(), "nothing is made");
    }
}
