//! Repositories elsewhere: a real S3 server (moto), a real rclone with a
//! directory, with SFTP, and as a server of restic's REST protocol.

use crate::{
    bench::{Bench, ended, is_root, required, restic_is_there, until},
    faults::Kills,
    tree,
};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

const FILES: &str = "[[backup]]\nname = \"files\"\nkind = \"paths\"\nroot = \"DIR/live\"\n\
                     repository = \"far\"\nkeep = { last = 1 }\n";
const SECRET: &str = "a-secret-that-is-never-told";

/// A server that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `PORT` in the arguments is a free one.
    fn start(program: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = free.port().to_string();
        let child = Command::new(program)
            .args(args.iter().map(|arg| arg.replace("PORT", &port)))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, address: free.to_string() };
        until("the server to answer", || TcpStream::connect(free).is_ok());
        server
    }

    fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }
}

/// The S3 server that `cargo xtask setup` installs.
fn moto() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/moto/bin/moto_server");
    required("moto_server (cargo xtask setup)", path.exists()).then_some(path)
}

fn rclone() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/rclone");
    required("rclone", path.exists()).then_some(path)
}

fn closed(bench: &Bench, name: &str, text: &str) -> String {
    let path = bench.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn bench(place: &str) -> Bench {
    let bench = Bench { dir: tempfile::tempdir().unwrap() };
    configure(&bench, place);
    fs::create_dir(bench.path("live")).unwrap();
    bench
}

fn configure(bench: &Bench, place: &str) {
    let far = "[[repository]]\nname = \"far\"\npassword_file = \"DIR/key\"\n";
    bench.configure(&format!("{far}{place}\n{FILES}"));
}

/// All that a repository must be able to do, wherever it is.
fn serves(bench: &Bench) {
    bench.ok(&["init"]);
    assert!(bench.ok(&["init", "files"]).contains("was there"));
    for ours in ["state/backup", "state/backup/repository-far"] {
        let mode = fs::metadata(bench.path(ours)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{ours} is open to others");
    }
    tree::odd(&bench.path("live"), is_root());
    let lines = tree::lines(&bench.path("live"));
    bench.ok(&["run"]);
    bench.ok(&["verify", "files", "--percent", "100"]);
    let all = bench.list();
    assert_eq!((all.len(), &all[0]["verified_level"]), (1, &serde_json::json!(2)));
    let to = bench.path("back");
    bench.ok(&["restore", "files", "--to", to.to_str().unwrap()]);
    assert_eq!(tree::lines(&to), lines);
    fs::write(bench.path("live/more"), tree::noise(2, 500_000)).unwrap();
    bench.ok(&["run"]);
    bench.ok(&["prune"]);
    assert_eq!(bench.list().len(), 1);
    bench.ok(&["verify", "files", "--percent", "100"]);
}

#[test]
fn a_bucket_of_s3_is_a_repository() {
    let Some(moto) = moto() else { return };
    let server = Server::start(&moto, &["-H", "127.0.0.1", "-p", "PORT"], &[]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(
        stream,
        "PUT /copies HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        server.address
    )
    .unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains(" 200 "), "{said}");
    let endpoint = format!("http://{}", server.address);
    let s3 = format!(
        "s3 = {{ endpoint = \"{endpoint}\", bucket = \"copies\", prefix = \"hosts/p1\", \
         credentials_file = \"DIR/s3.toml\" }}"
    );
    let bench = bench(&s3);
    closed(
        &bench,
        "s3.toml",
        &format!("access_key_id = \"us\"\nsecret_access_key = \"{SECRET}\"\n"),
    );
    serves(&bench);
    if restic_is_there() {
        let restic = |args: &[&str]| {
            let mut command = Command::new("restic");
            command.arg("-r").arg(format!("s3:{endpoint}/copies/hosts/p1")).arg("--no-cache");
            command.arg("--password-file").arg(bench.path("key")).args(args);
            command.env("AWS_ACCESS_KEY_ID", "us").env("AWS_SECRET_ACCESS_KEY", SECRET);
            ended(&command.output().unwrap())
        };
        let checked = restic(&["check", "--read-data"]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
    // Credentials that others may read, or that are no credentials, are not used.
    let file = bench.path("s3.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = bench.run(&["run"]);
    assert!(open.code == Some(1) && open.err.contains("chmod 600"), "{open:?}");
    closed(&bench, "s3.toml", SECRET);
    let none = bench.run(&["run"]);
    assert!(none.err.contains("secret_access_key") && !none.err.contains(SECRET), "{none:?}");
    let text = format!("access_key_id = \"us\"\nsecret_access_key = \"{SECRET}\"\n");
    closed(&bench, "s3.toml", &text);
    drop(server);
    let gone = bench.run(&["run"]);
    assert!(gone.code == Some(1) && gone.err.contains(&endpoint), "{gone:?}");
    assert!(!gone.err.contains(SECRET) && !gone.err.contains("is damaged"), "{gone:?}");
}

#[test]
fn rclones_remote_is_a_repository_and_rclone_ends_with_us() {
    let Some(_) = rclone() else { return };
    let bench = bench("rclone = { remote = \":local:DIR/remote\" }");
    serves(&bench);
    if restic_is_there() {
        let restic = Command::new("restic")
            .args(["--no-cache", "check", "--read-data", "-r"])
            .arg(bench.path("remote"))
            .arg("--password-file")
            .arg(bench.path("key"))
            .output()
            .unwrap();
        assert_eq!(ended(&restic).code, Some(0), "{restic:?}");
    }
    let fill = |seed: u64| {
        fs::write(bench.path("live/large"), tree::noise(seed, 6_000_000)).unwrap();
    };
    fill(10);
    let begun = Instant::now();
    bench.ok(&["run"]);
    let mut kills = Kills { took: begun.elapsed(), hit: 0 };
    for round in 1..=3 {
        fill(10 + u64::from(round));
        kills.kill(bench.begin(&["run"]), 2 * round + 1);
    }
    assert!(kills.hit > 0);
    let ours = bench.path("remote").to_str().unwrap().to_owned();
    let runs = || {
        let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = all.filter_map(|of| fs::read(of.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(&ours)).count()
    };
    until("rclone to end", || runs() == 0);
    for snapshot in bench.list() {
        let id = snapshot["snapshot"].as_str().unwrap();
        bench.ok(&["verify", "files", "--snapshot", id, "--percent", "100"]);
    }
    bench.ok(&["run"]);
    configure(&bench, "rclone = { remote = \"nosuch:there\" }");
    let none = bench.run(&["run"]);
    assert!(none.code == Some(1) && none.err.contains("nosuch"), "{none:?}");
}

#[test]
fn sftp_is_a_repository_by_rclone() {
    let Some(rclone) = rclone() else { return };
    let home = tempfile::tempdir().unwrap();
    let at = home.path().to_str().unwrap();
    let args = ["serve", "sftp", at, "--addr", "127.0.0.1:PORT", "--user", "us"];
    let keys = format!("{at}/cache");
    let env = [("RCLONE_PASS", SECRET), ("RCLONE_CACHE_DIR", keys.as_str())];
    let server = Server::start(&rclone, &args, &env);
    let hidden = Command::new(&rclone).args(["obscure", SECRET]).output().unwrap().stdout;
    let hidden = String::from_utf8(hidden).unwrap();
    let bench = bench("rclone = { remote = \"far:copies/p1\", config = \"DIR/rclone.conf\" }");
    let port = server.port();
    closed(
        &bench,
        "rclone.conf",
        &format!(
            "[far]\ntype = sftp\nhost = 127.0.0.1\nport = {port}\nuser = us\npass = {hidden}\nshell_type = none\n"
        ),
    );
    serves(&bench);
    assert!(home.path().join("copies/p1/config").exists());
}

#[test]
fn a_rest_server_is_a_repository() {
    let Some(rclone) = rclone() else { return };
    let home = tempfile::tempdir().unwrap();
    let at = home.path().to_str().unwrap();
    let args = ["serve", "restic", "--addr", "127.0.0.1:PORT", at];
    let env = [("RCLONE_USER", "us"), ("RCLONE_PASS", SECRET)];
    let server = Server::start(&rclone, &args, &env);
    let rest = format!(
        "rest = {{ url = \"http://{}/p1\", user = \"us\", user_password_file = \"DIR/rest.key\" }}",
        server.address
    );
    let bench = bench(&rest);
    closed(&bench, "rest.key", SECRET);
    serves(&bench);
    // restic's own lock: nothing is done beside it.
    fs::create_dir_all(home.path().join("p1/locks")).unwrap();
    let lock = home.path().join("p1/locks").join("a".repeat(64));
    fs::write(&lock, "held").unwrap();
    let beside = bench.run(&["run"]);
    assert!(beside.code == Some(1) && beside.err.contains("restic unlock"), "{beside:?}");
    fs::remove_file(lock).unwrap();
    closed(&bench, "rest.key", "wrong-word");
    let refused = bench.run(&["run"]);
    assert!(refused.code == Some(1) && refused.err.contains("401"), "{refused:?}");
    assert!(!refused.err.contains("wrong-word"), "{refused:?}");
}
