//! What stands on disk after success, after a full disk, and after neglect.

use super::*;
use std::process::Command;

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_with_its_exact_mode_and_nothing_beside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    assert_eq!(read_optional(&path).unwrap(), None);
    write_atomic(&path, b"one", 0o600).unwrap();
    write_atomic(&path, b"two", 0o644).unwrap();
    assert_eq!(read_optional(&path).unwrap().as_deref(), Some(&b"two"[..]));
    assert_eq!(mode_of(&path), 0o644);
    assert_eq!(names(dir.path()), ["ledger"]);
}

#[test]
fn a_full_disk_is_told_plainly() {
    // /dev/full answers every write with ENOSPC.
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = fill(&full, Path::new("/var/lib/x/ledger"), b"new", 0o600).unwrap_err();
    assert!(matches!(error, DurableError::NoSpace { operation: Operation::Write, .. }));
    let words = error.to_string();
    assert!(words.contains("cannot write /var/lib/x/ledger"), "{words}");
    assert!(words.contains("`df -h /var/lib/x`"), "{words}");
}

/// The writer of the next test: runs in a process of its own, whose files may
/// not grow beyond one block. Nothing when run by itself.
#[test]
fn child_that_may_not_write_much() {
    let Some(path) = std::env::var_os("LEDGER").map(PathBuf::from) else { return };
    let error = write_atomic(&path, &[b'n'; 100_000], 0o600).unwrap_err();
    assert!(matches!(error, DurableError::Failed { operation: Operation::Write, .. }), "{error}");
}

#[test]
fn a_write_that_fails_half_way_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    write_atomic(&path, b"old", 0o600).unwrap();
    let output = Command::new("/bin/sh")
        // With SIGXFSZ ignored the limit shows as an error of the write.
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "durable::tests::child_that_may_not_write_much"])
        .env("LEDGER", &path)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && words.contains("1 passed"), "{words}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["ledger"]);
}

#[test]
fn errors_name_operation_and_path() {
    let dir = tempfile::tempdir().unwrap();
    let words = write_atomic(&dir.path().join("no/ledger"), b"", 0o600).unwrap_err().to_string();
    assert!(words.contains("cannot create") && words.contains("no/ledger"), "{words}");
    let words = read_optional(dir.path()).unwrap_err().to_string();
    assert!(words.contains("cannot read"), "{words}");
    assert!(write_atomic(Path::new("/"), b"", 0o600).is_err());
    for (number, part) in [(28, "no space"), (30, "read-only"), (13, "permission denied")] {
        let source = io::Error::from_raw_os_error(number);
        let words = DurableError::new(Operation::Sync, Path::new("/a/b"), source).to_string();
        assert!(words.starts_with("cannot sync /a/b: ") && words.contains(part), "{words}");
    }
}

#[test]
fn a_private_directory_is_private_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join("state/pki");
    create_private_dir(&private).unwrap();
    create_private_dir(&private).unwrap();
    assert_eq!(mode_of(&private), 0o700);

    // Empty and ours: closed. With something in it: whoever opened it meant it.
    std::fs::set_permissions(&private, Permissions::from_mode(0o755)).unwrap();
    create_private_dir(&private).unwrap();
    assert_eq!(mode_of(&private), 0o700);
    std::fs::write(private.join("identity.key"), "secret").unwrap();
    std::fs::set_permissions(&private, Permissions::from_mode(0o750)).unwrap();
    let words = create_private_dir(&private).unwrap_err().to_string();
    assert!(words.contains("0750") && words.contains("chmod 700"), "{words}");
    assert_eq!(mode_of(&private), 0o750);

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(create_private_dir(&file).is_err());
}

#[test]
fn leftovers_of_a_dead_machine_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(format!(".ledger.1-0{TEMPORARY}")), "half").unwrap();
    std::fs::write(dir.path().join("ledger"), "whole").unwrap();
    sweep(dir.path()).unwrap();
    assert_eq!(names(dir.path()), ["ledger"]);
}
