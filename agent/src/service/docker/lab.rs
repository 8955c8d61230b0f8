//! For tests: the real Engine, an image made on the spot, containers that go away.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Made from Debian's busybox-static; needs no registry.
const IMAGE: &str = "understudy-test:busybox";

/// Whether there is a Docker to test with. Without one a test passes with a
/// word, unless UNDERSTUDY_REQUIRE_ALL=1 makes that a failure.
pub(crate) fn docker_is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let asked = Command::new("docker").args(["version", "-f", "{{.Server.Version}}"]).output();
        let there = asked.is_ok_and(|answer| answer.status.success());
        if there {
            make_image();
        } else {
            let required = std::env::var("UNDERSTUDY_REQUIRE_ALL").is_ok_and(|value| value == "1");
            assert!(!required, "UNDERSTUDY_REQUIRE_ALL=1, and no Docker answers");
            eprintln!("skipped: no Docker");
        }
        there
    })
}

pub(crate) fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    said(&format!("docker {args:?}"), &output)
}

fn said(what: &str, output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {words}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn make_image() {
    let known = Command::new("docker").args(["image", "inspect", IMAGE]).output().unwrap();
    if known.status.success() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("tmp")).unwrap();
    fs::copy(busybox(dir.path()), root.join("bin/busybox")).unwrap();
    for name in ["sh", "sleep", "test", "touch", "true", "false", "rm"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let script = format!("tar -C '{}' -c . | docker import - {IMAGE}", root.display());
    said("docker import", &Command::new("sh").args(["-c", &script]).output().unwrap());
}

/// A static busybox: this host's, or the one of the Debian package.
fn busybox(dir: &Path) -> std::path::PathBuf {
    let own = Path::new("/bin/busybox");
    let is_static = Command::new("ldd").arg(own).output().is_ok_and(|o| !o.status.success());
    if own.exists() && is_static {
        return own.into();
    }
    let script = "apt-get download -q busybox-static && dpkg-deb -x busybox-static*.deb unpacked";
    let output = Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    said("apt-get download busybox-static", &output);
    ["unpacked/bin/busybox", "unpacked/usr/bin/busybox"]
        .map(|path| dir.join(path))
        .into_iter()
        .find(|path| path.exists())
        .expect("busybox in its package")
}

/// A container that is removed at the end.
pub(crate) struct Container(pub(crate) String);

impl Container {
    /// Created, not started; `options` go before the image's name.
    pub(crate) fn create(options: &[&str], command: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("understudy-test-{}-{number}", std::process::id());
        let head = ["create", "--name", &name, "--network", "none"];
        docker(&[&head, options, &[IMAGE], command].concat());
        Self(name)
    }

    pub(crate) fn inspect(&self, what: &str) -> String {
        docker(&["inspect", "-f", what, &self.0])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.0]).output();
    }
}
