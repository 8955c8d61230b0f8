//! What this machine has: one probe for each thing that the demo or the tests need.

use crate::shell;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Whether a program can be linked against libzmq: asked of the linker itself,
/// because the library and its development files are two packages.
pub(crate) fn links_libzmq() -> bool {
    let folder = env::temp_dir().join(format!("understudy-xtask-{}", std::process::id()));
    if fs::create_dir_all(&folder).is_err() {
        return false;
    }
    let source = folder.join("probe.c");
    let linked = fs::write(&source, "int main(void) { return 0; }\n").is_ok()
        && Command::new("cc")
            .arg(&source)
            .arg("-o")
            .arg(folder.join("probe"))
            .arg("-lzmq")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    // Best effort: a folder left in the temporary directory harms nobody.
    let _ = fs::remove_dir_all(&folder);
    linked
}

/// Whether Debian's python can speak ZeroMQ: the second language of the probe's
/// tests. Another python that comes first on the path does not have it.
pub(crate) fn has_pyzmq() -> bool {
    shell::succeeds("/usr/bin/python3", &["-c", "import zmq"])
}

/// Whether nft and ip are there, on the path or where root has them.
pub(crate) fn has_nftables() -> bool {
    let there = |name: &str| {
        ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(name).exists())
    };
    there("nft") && there("ip")
}

/// Whether there is a static busybox to make test images of.
pub(crate) fn has_busybox() -> bool {
    Path::new("/bin/busybox").exists() || Path::new("/usr/bin/busybox").exists()
}

/// Whether the restic program is installed.
pub(crate) fn has_restic() -> bool {
    shell::succeeds("restic", &["version"])
}

/// Whether the rclone program is installed.
pub(crate) fn has_rclone() -> bool {
    Path::new("/usr/bin/rclone").exists()
}

/// Whether the programs that backups are measured beside are installed.
pub(crate) fn has_archivers() -> bool {
    shell::succeeds("zstd", &["--version"]) && shell::succeeds("openssl", &["version"])
}

/// Where tools lie that no package of the system brings; the tests look there.
pub(crate) fn tools() -> PathBuf {
    shell::root().join("target/tools")
}

/// Whether the S3 server is installed and starts.
pub(crate) fn has_moto() -> bool {
    let server = tools().join("moto/bin/moto_server");
    server.to_str().is_some_and(|server| shell::succeeds(server, &["--help"]))
}

/// Whether Docker's client is installed.
pub(crate) fn has_docker() -> bool {
    shell::succeeds("docker", &["--version"])
}

/// Whether Docker's daemon answers.
pub(crate) fn docker_answers() -> bool {
    shell::succeeds("docker", &["info"])
}

/// Whether all programs that the lab calls are installed. They lie where only
/// root's path leads, and root is who runs the lab.
pub(crate) fn has_lab_programs() -> bool {
    let needed = [
        "dockerd",
        "docker",
        "nft",
        "ip",
        "iptables",
        "nsenter",
        "unshare",
        "fsfreeze",
        "mkfs.ext4",
    ];
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
    needed.iter().all(|name| folders.iter().any(|folder| Path::new(folder).join(name).exists()))
        && has_libfaketime()
}

/// Whether there is a library that gives a program a wall clock of its own.
fn has_libfaketime() -> bool {
    let entries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().join("faketime/libfaketimeMT.so.1").exists())
}

/// Whether `cargo nextest` can be called.
pub(crate) fn has_nextest() -> bool {
    shell::cargo(&["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether `cargo deny` can be called.
pub(crate) fn has_deny() -> bool {
    shell::cargo(&["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    shell::output("id", &["-u"]).is_ok_and(|id| id.trim() == "0")
}
