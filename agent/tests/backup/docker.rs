//! Real volumes under containers that write, and containers that must go on
//! whatever happens to the backup. Names of tests begin with `docker_`: they run
//! one at a time.

use crate::{
    bench::{Bench, is_root, until},
    tree,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Made of a static busybox; needs no registry.
const IMAGE: &str = "understudy-test:busybox";

fn docker_is_there() -> bool {
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
    }) && is_root()
}

fn said(what: &str, output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {words}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn docker(args: &[&str]) -> String {
    said(&format!("docker {args:?}"), &Command::new("docker").args(args).output().unwrap())
}

fn make_image() {
    let known = Command::new("docker").args(["image", "inspect", IMAGE]).output().unwrap();
    if known.status.success() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("root/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(dir.path().join("root/tmp")).unwrap();
    let own = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    let busybox = own.into_iter().find(|path| path.exists()).expect("busybox-static");
    fs::copy(busybox, bin.join("busybox")).unwrap();
    for name in ["sh", "sleep", "test", "touch", "true", "false", "rm"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    let script =
        format!("tar -C '{}' -c . | docker import - {IMAGE}", dir.path().join("root").display());
    said("docker import", &Command::new("sh").args(["-c", &script]).output().unwrap());
}

fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("understudy-test-backup-{what}-{}-{number}", std::process::id())
}

/// A volume that goes away at the end.
struct Volume(String);

impl Volume {
    fn new(labels: &[&str]) -> Self {
        let name = unique("volume");
        let labels: Vec<&str> = labels.iter().flat_map(|label| ["--label", *label]).collect();
        docker(&[&["volume", "create"][..], &labels, &[&name]].concat());
        Self(name)
    }

    fn place(&self) -> PathBuf {
        docker(&["volume", "inspect", "-f", "{{.Mountpoint}}", &self.0]).into()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["volume", "rm", "-f", &self.0]).output();
    }
}

/// A running container that goes away at the end.
struct Container(String);

impl Container {
    fn run(options: &[&str], script: &str) -> Self {
        let name = unique("container");
        let head = ["run", "--detach", "--name", &name, "--network", "none"];
        docker(&[&head[..], options, &[IMAGE, "/bin/sh", "-c", script]].concat());
        Self(name)
    }

    fn is(&self, what: &str) -> bool {
        docker(&["inspect", "-f", &format!("{{{{.State.{what}}}}}"), &self.0]) == "true"
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", "-v", &self.0]).output();
    }
}

/// Writes a number a line, in order, for ever; a copy of it must be in order too.
const WRITER: &str =
    "n=0; while true; do n=$((n+1)); echo $n >> /data/log; echo $n > /data/last; done";

fn source(volume: &str, quiesce: &str) -> String {
    format!(
        "[[backup]]\nname = \"data\"\nkind = \"volume\"\nvolume = \"{volume}\"\nquiesce = \"{quiesce}\"\n"
    )
}

fn numbers(path: &Path) -> Vec<u64> {
    fs::read_to_string(path).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn docker_a_volume_is_copied_under_its_writer_and_swapped_back() {
    if !docker_is_there() {
        return;
    }
    let volume = Volume::new(&[]);
    let mount = format!("{}:/data", volume.0);
    let writer = Container::run(&["--volume", &mount], WRITER);
    let bench = Bench::new(&source(&volume.0, "pause"));
    until("the writer to write", || volume.place().join("last").exists());
    bench.ok(&["run"]);
    assert!(writer.is("Running") && !writer.is("Paused"), "it goes on");
    let copy = bench.path("copy");
    bench.ok(&["restore", "data", "--to", copy.to_str().unwrap()]);
    let copied = numbers(&copy.join("log"));
    assert!(copied.iter().copied().eq(1..=copied.len() as u64), "frozen, so every line is whole");
    fs::write(volume.place().join("stale"), "made after the backup").unwrap();
    let before = docker(&["inspect", "-f", "{{.State.StartedAt}}", &writer.0]);
    let done = bench.json(&["restore", "data"]);
    assert_eq!(done["plan"]["waits"][0], writer.0.as_str());
    assert!(done["blackout_ms"].as_u64().unwrap() > 0, "{done}");
    assert!(writer.is("Running"), "it was started again");
    assert_ne!(docker(&["inspect", "-f", "{{.State.StartedAt}}", &writer.0]), before);
    assert!(!volume.place().join("stale").exists());
    until("the writer to use what was restored", || {
        numbers(&volume.place().join("log")).len() > copied.len()
    });
    assert_eq!(numbers(&volume.place().join("log"))[..copied.len()], copied);
    let safety = PathBuf::from(done["safety_copy"].as_str().unwrap());
    assert!(safety.join("new/stale").exists(), "what was there is kept");
}

#[test]
fn docker_containers_go_on_when_a_backup_is_killed() {
    if !docker_is_there() {
        return;
    }
    for (quiesce, waits) in [("pause", "Paused"), ("stop", "Running")] {
        let volume = Volume::new(&[
            "com.docker.compose.project=mt4",
            &format!("com.docker.compose.volume={quiesce}"),
        ]);
        for file in 0..10 {
            fs::write(volume.place().join(format!("f{file}")), tree::noise(file, 8_000_000))
                .unwrap();
        }
        let mount = format!("{}:/data", volume.0);
        let options = ["--volume", &mount, "--stop-signal", "KILL"];
        let writer = Container::run(&options, "while true; do sleep 1; done");
        let bench = Bench::new(&format!(
            "[[backup]]\nname = \"data\"\nkind = \"volume\"\nquiesce = \"{quiesce}\"\n\
             compose = {{ project = \"mt4\", volume = \"{quiesce}\" }}\n"
        ));
        let waiting =
            || if waits == "Paused" { writer.is("Paused") } else { !writer.is("Running") };
        let mut begun = bench.begin(&["run"]);
        until("the container to wait", waiting);
        begun.kill().unwrap();
        begun.wait().unwrap();
        until("the container to go on", || !waiting());
        assert!(bench.list().is_empty());
        bench.ok(&["run"]);
        assert!(!waiting(), "{quiesce}");
    }
}

#[test]
fn docker_an_exclusive_service_is_never_started_from_here() {
    if !docker_is_there() {
        return;
    }
    let volume = Volume::new(&[]);
    let mount = format!("{}:/data", volume.0);
    let trader =
        Container::run(&["--volume", &mount], "echo x > /data/x; while true; do sleep 1; done");
    let service = format!(
        "[[service]]\nname = \"trader\"\ngroup = \"fx\"\ndriver = \"docker\"\ncontainer = \"{}\"\n",
        trader.0
    );
    let bench = Bench::new(&format!("{}{service}", source(&volume.0, "stop")));
    let ended = bench.run(&["run"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains("exclusive service") && ended.err.contains("\"pause\""),
        "{ended:?}"
    );
    assert!(trader.is("Running"));
    bench.configure(&format!("{}{service}", source(&volume.0, "none")));
    until("the container's first file", || volume.place().join("x").exists());
    bench.ok(&["run"]);
    let ended = bench.run(&["restore", "data"]);
    assert_eq!(ended.code, Some(3));
    assert!(ended.err.contains("coordctl switchover"), "{ended:?}");
    assert!(trader.is("Running"));
    docker(&["kill", &trader.0]);
    bench.ok(&["restore", "data"]);
    assert!(!trader.is("Running"), "it stays as it was found");
}

#[test]
fn docker_files_and_dumps_of_a_container_are_whole_or_nothing() {
    if !docker_is_there() {
        return;
    }
    let script = "echo setting > /tmp/config; while true; do sleep 1; done";
    let container = Container::run(
        &["--label", "com.docker.compose.project=mt4", "--label", "com.docker.compose.service=db"],
        script,
    );
    let dump = |script: &str| {
        format!(
            "[[backup]]\nname = \"settings\"\nkind = \"container\"\ncontainer = \"{}\"\npath = \"/tmp/config\"\n\
             [[backup]]\nname = \"dump\"\nkind = \"command\"\nfile = \"d.sql\"\n\
             compose = {{ project = \"mt4\", service = \"db\" }}\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n",
            container.0
        )
    };
    let bench = Bench::new(&dump("n=0; while test $n -lt 5000; do n=$((n+1)); echo line $n; done"));
    let file = |name: &str| bench.path(name).to_str().unwrap().to_owned();
    let mut config = Command::new("docker");
    config.args(["exec", &container.0, "/bin/test", "-e", "/tmp/config"]);
    until("the container's file", || config.status().unwrap().success());
    bench.ok(&["run"]);
    bench.ok(&["restore", "dump", "--to", &file("dump")]);
    let text = fs::read_to_string(bench.path("dump/d.sql")).unwrap();
    assert!(text.ends_with("line 5000\n") && text.lines().count() == 5000);
    bench.ok(&["restore", "settings", "--to", &file("settings")]);
    let listed =
        Command::new("tar").arg("-xOf").arg(bench.path("settings/files.tar")).output().unwrap();
    assert_eq!(said("tar", &listed), "setting");
    for (script, word) in [
        ("echo half; exit 3", "exit code 3"),
        ("echo all; echo careful >&2", "stderr_ok"),
        ("true", "wrote nothing"),
    ] {
        bench.configure(&dump(script));
        let ended = bench.run(&["run", "dump"]);
        assert_eq!(ended.code, Some(1), "{script}: {ended:?}");
        assert!(ended.err.contains(word) && ended.err.contains("no snapshot"), "{ended:?}");
    }
    bench.configure(&dump("echo x").replace("/tmp/config", "/no/such/file"));
    let ended = bench.run(&["run", "settings"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    bench.configure(&dump("echo x").replace("service = \"db\"", "service = \"dbb\""));
    let ended = bench.run(&["run", "dump"]);
    assert!(ended.err.contains("there is no compose service `dbb`"), "{ended:?}");
    assert_eq!(bench.list().len(), 2);
}
