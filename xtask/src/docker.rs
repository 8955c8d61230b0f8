//! Starting Docker's daemon where a machine has it and no init system did.

use crate::{machine, shell};
use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a daemon may take to answer: a cold start with an empty store
/// takes about three seconds on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// Storage drivers to try, in order: the daemon's own choice, then the one
/// that works on every file system.
const DRIVERS: [&[&str]; 2] = [&[], &["--storage-driver=vfs"]];

/// Starts the daemon and returns when it answers. It stays when we end.
pub(crate) fn start() -> Result<()> {
    if Path::new("/run/systemd/system").is_dir() && machine::is_root() {
        shell::run(Command::new("systemctl").args(["start", "docker"]))?;
        return match wait(None) {
            Ok(()) => Ok(()),
            Err(why) => Err(why.context("systemd started docker.service, and it does not answer")),
        };
    }
    if !machine::is_root() {
        bail!(
            "Docker is installed, and its daemon does not answer; start it as root \
             (`dockerd`), and see that you may use it: `docker info`"
        );
    }
    let log = env::temp_dir().join(format!("understudy-dockerd-{}.log", std::process::id()));
    let mut last = None;
    for driver in DRIVERS {
        eprintln!("setup: starting dockerd {} (log: {})", driver.join(" "), log.display());
        let file = fs::File::create(&log)
            .with_context(|| format!("could not create {}", log.display()))?;
        let mut child = Command::new("dockerd")
            .args(driver)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // A group of its own: Ctrl-C at our terminal is not meant for it.
            .process_group(0)
            .spawn()
            .context("could not start dockerd")?;
        match wait(Some(&mut child)) {
            Ok(()) => return Ok(()),
            Err(why) => last = Some(why),
        }
        // It does not answer; the next one would find its lock.
        let _ = child.kill();
        let _ = child.wait();
    }
    let why = last.unwrap_or_else(|| anyhow::anyhow!("no storage driver to try"));
    Err(why.context(format!("dockerd did not come up; its words are in {}", log.display())))
}

fn wait(mut child: Option<&mut Child>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if machine::docker_answers() {
            return Ok(());
        }
        if let Some(child) = child.as_deref_mut()
            && let Some(status) = child.try_wait()?
        {
            bail!("dockerd ended with {status}");
        }
        if Instant::now() >= deadline {
            bail!("the Docker daemon did not answer within {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
}
