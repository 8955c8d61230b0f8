//! A disk's numbers, a full one, and one that never answers.

use super::*;
use crate::probe::Levels;
use std::{fs, path::Path, process::Command, sync::Mutex};

fn config(path: &Path) -> DiskConfig {
    let levels = Levels { warn: Some(15.0), critical: Some(5.0) };
    DiskConfig { path: path.into(), free: levels, free_inodes: levels }
}

fn stat(change: impl FnOnce(&mut StatVfs)) -> StatVfs {
    let mut stat = StatVfs {
        f_bsize: 4096,
        f_frsize: 4096,
        f_blocks: 1000,
        f_bfree: 550,
        f_bavail: 500,
        f_files: 1000,
        f_ffree: 900,
        f_favail: 900,
        f_fsid: 0,
        f_flag: StatVfsMountFlags::empty(),
        f_namemax: 255,
    };
    change(&mut stat);
    stat
}

fn verdict(change: impl FnOnce(&mut StatVfs)) -> Verdict {
    judge(&config(Path::new("/d")), &stat(change)).verdict
}

#[test]
fn space_inodes_and_read_only_are_judged() {
    let fine = judge(&config(Path::new("/d")), &stat(|_| {}));
    assert_eq!((fine.verdict, fine.measures["free_percent"]), (Verdict::Ok, 52));
    assert_eq!(fine.measures["free_bytes"], 500 * 4096);
    assert_eq!(verdict(|stat| (stat.f_bfree, stat.f_bavail) = (150, 100)), Verdict::Warn);
    assert_eq!(verdict(|stat| (stat.f_bfree, stat.f_bavail) = (50, 0)), Verdict::Critical);
    assert_eq!(verdict(|stat| (stat.f_ffree, stat.f_favail) = (100, 100)), Verdict::Warn);
    assert_eq!(verdict(|stat| (stat.f_ffree, stat.f_favail) = (0, 0)), Verdict::Critical);
    assert_eq!(verdict(|stat| stat.f_flag = StatVfsMountFlags::RDONLY), Verdict::Critical);
}

#[test]
fn odd_numbers_are_no_reason_to_fall_over() {
    let no_inodes = |stat: &mut StatVfs| (stat.f_files, stat.f_ffree, stat.f_favail) = (0, 0, 0);
    assert_eq!(verdict(no_inodes), Verdict::Ok);
    let empty = |stat: &mut StatVfs| (stat.f_blocks, stat.f_bfree, stat.f_bavail) = (0, 0, 0);
    assert_eq!(verdict(empty), Verdict::Ok);
    let huge = |stat: &mut StatVfs| {
        (stat.f_blocks, stat.f_bfree, stat.f_bavail) = (u64::MAX, 0, u64::MAX);
        stat.f_frsize = u64::MAX;
    };
    assert_eq!(judge(&config(Path::new("/d")), &stat(huge)).measures["free_bytes"], i64::MAX);
    verdict(|stat| (stat.f_blocks, stat.f_bfree) = (1, 2));
}

#[tokio::test]
async fn a_real_disk_and_a_missing_one() {
    let name = ProbeName::new("d").unwrap();
    let limit = Duration::from_secs(20);
    let mut root = Disk::new(config(Path::new("/")), limit, &name).unwrap();
    assert!(root.find().await.measures["total_bytes"] > 0);
    let mut missing = Disk::new(config(Path::new("/no/such/path")), limit, &name).unwrap();
    let finding = missing.find().await;
    assert_eq!(finding.verdict, Verdict::Unknown);
    assert!(finding.summary.contains("/no/such/path: No such file"), "{}", finding.summary);
}

#[tokio::test]
async fn a_file_system_that_never_answers_is_unknown_and_asked_only_once() {
    let (answer, held) = std::sync::mpsc::channel::<()>();
    let asked = Arc::new(Mutex::new(0));
    let (held, count) = (Mutex::new(held), Arc::clone(&asked));
    let ask = move || {
        *count.lock().unwrap() += 1;
        let _ = held.lock().unwrap().recv();
        Ok(stat(|_| {}))
    };
    let name = ProbeName::new("nfs").unwrap();
    let limit = Duration::from_millis(50);
    let mut disk = Disk::asking(config(Path::new("/nfs")), limit, &name, ask).unwrap();
    for _ in 0..3 {
        let started = Instant::now();
        let finding = disk.find().await;
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(finding.verdict, Verdict::Unknown);
        assert!(finding.summary.contains("has not answered for"), "{}", finding.summary);
    }
    assert_eq!(*asked.lock().unwrap(), 1);
    answer.send(()).unwrap();
    disk.limit = Duration::from_secs(20);
    assert_eq!(disk.find().await.verdict, Verdict::Ok);
}

/// A small file system in memory, unmounted at the end.
struct Tmpfs(tempfile::TempDir);

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_and_a_read_only_disk_are_critical() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "understudy-test"])
        .arg(dir.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        let required = std::env::var("UNDERSTUDY_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "UNDERSTUDY_REQUIRE_ALL=1, and tmpfs cannot be mounted");
        eprintln!("skipped: mounting a tmpfs needs root");
        return;
    }
    let tmpfs = Tmpfs(dir);
    let path = tmpfs.0.path();
    let name = ProbeName::new("tmp").unwrap();
    let mut disk = Disk::new(config(path), Duration::from_secs(20), &name).unwrap();
    assert_eq!(disk.find().await.verdict, Verdict::Ok);
    fs::write(path.join("big"), vec![0; 1_030_000]).unwrap();
    let full = disk.find().await;
    assert_eq!((full.verdict, full.measures["free_percent"]), (Verdict::Critical, 1), "{full:?}");
    fs::remove_file(path.join("big")).unwrap();
    for number in 0.. {
        if fs::write(path.join(number.to_string()), "").is_err() {
            break;
        }
    }
    let full = disk.find().await;
    assert_eq!((full.verdict, full.measures["free_inodes"]), (Verdict::Critical, 0), "{full:?}");
    let again = Command::new("mount").args(["-o", "remount,ro"]).arg(path).status().unwrap();
    assert!(again.success());
    let read_only = disk.find().await;
    assert_eq!(read_only.measures["read_only"], 1);
    assert!(read_only.summary.contains("read-only"), "{}", read_only.summary);
}
