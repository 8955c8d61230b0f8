//! Real containers for the demo: an image made on the spot from the
//! publisher's program and the shared libraries that it names, because no
//! registry need be reachable.

use crate::{
    config::{self, Options},
    wait,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// The label that all our containers and images carry: the cluster's folder.
const LABEL: &str = "understudy.demo.folder";

/// The publisher's containers, created and not started. Removed when dropped.
#[derive(Debug)]
pub struct Containers {
    folder: PathBuf,
    image: String,
    /// One for each site, in their order.
    pub names: [String; 2],
    kept: bool,
}

/// Whether Docker can be used here, or why not.
///
/// # Errors
/// In words, with what to do.
pub fn available() -> Result<()> {
    let done = Command::new("docker").arg("info").stdin(Stdio::null()).output();
    let done = done.context("Docker is not installed here (`cargo xtask setup` installs it)")?;
    if !done.status.success() {
        bail!(
            "Docker does not answer (`cargo xtask setup` starts it): {}",
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(())
}

impl Containers {
    /// Names for the containers of one run, before anything is made, for the
    /// agents' configurations.
    #[must_use]
    pub fn names() -> [String; 2] {
        let run = std::process::id();
        [format!("understudy-demo-{run}-p1"), format!("understudy-demo-{run}-s1")]
    }

    /// Makes the image and both containers for the cluster in `folder`.
    ///
    /// # Errors
    /// When Docker refuses, with its words.
    pub fn create(
        folder: &Path,
        publisher: &Path,
        ports: [u16; 2],
        options: &Options,
    ) -> Result<Self> {
        let names = options.containers.clone().context("no containers are wanted")?;
        let image = format!("understudy-demo-tick:{}", std::process::id());
        let made = Self { folder: folder.into(), image, names, kept: false };
        import(folder, publisher, &made.image)?;
        let hosts = ["p1", "s1"].into_iter().zip(ports).zip(&made.names);
        for (site, ((host, port), name)) in hosts.enumerate() {
            let own = folder.join(host);
            // Loopback of the host: the demo shows no container networking.
            let mount = format!("{}:/venue", own.display());
            let arguments =
                config::publisher_arguments(site, Path::new("/venue/ticks"), port, options);
            docker(
                Command::new("docker")
                    .args(["create", "--network", "host", "--name", name, "--volume", &mount])
                    .args(["--label", &format!("{LABEL}={}", folder.display())])
                    .arg(&made.image)
                    .arg("/tick-publisher")
                    .args(arguments),
            )?;
        }
        Ok(made)
    }

    /// Leaves them when dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        if !self.kept {
            // Best effort: what cannot be removed carries our label.
            let _ = remove(&self.folder);
        }
    }
}

/// Kills a container as a crash would.
///
/// # Errors
/// When Docker refuses.
pub fn kill(name: &str) -> Result<()> {
    docker(Command::new("docker").args(["kill", "--signal", "KILL", name]))?;
    wait::until(&format!("{name} to be dead"), Duration::from_secs(10), || {
        let running = docker(Command::new("docker").args([
            "inspect",
            "--format",
            "{{.State.Running}}",
            name,
        ]))?;
        ensure!(running.trim() == "false", "running: {running}");
        Ok(())
    })
}

/// Removes every container and image of the cluster in `folder`.
///
/// # Errors
/// When Docker refuses.
pub fn remove(folder: &Path) -> Result<()> {
    let filter = format!("label={LABEL}={}", folder.display());
    let ids = docker(Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &filter]))?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if !ids.is_empty() {
        docker(Command::new("docker").args(["rm", "--force"]).args(&ids))?;
    }
    let images = docker(Command::new("docker").args(["images", "--quiet", "--filter", &filter]))?;
    let images: Vec<&str> = images.split_whitespace().collect();
    if !images.is_empty() {
        docker(Command::new("docker").args(["rmi", "--force"]).args(&images))?;
    }
    Ok(())
}

/// Packs the program with its libraries at the same paths, and imports that.
fn import(folder: &Path, publisher: &Path, image: &str) -> Result<()> {
    let archive = pack(folder, publisher, &["venue"])?;
    let label = format!("LABEL {LABEL}={}", folder.display());
    docker(Command::new("docker").args(["import", "--change", &label]).arg(&archive).arg(image))?;
    fs::remove_file(&archive)?;
    Ok(())
}

/// An archive of a file system with the program at its root, its libraries at
/// the paths where they are here, and these empty folders.
///
/// # Errors
/// When a file is missing or cannot be copied.
pub fn pack(folder: &Path, program: &Path, folders: &[&str]) -> Result<PathBuf> {
    let root = folder.join("image");
    fs::create_dir_all(&root)?;
    for name in folders {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy(program, root.join(program.file_name().context("no program is named")?))?;
    for library in libraries(program)? {
        let target = root.join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&library, &target)
            .with_context(|| format!("could not copy {}", library.display()))?;
    }
    let archive = folder.join("image.tar");
    docker(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
    fs::remove_dir_all(&root)?;
    Ok(archive)
}

/// The shared libraries that the loader finds for `program`, the loader itself included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = docker(Command::new("ldd").arg(program))?;
    let paths = listed.lines().filter_map(|line| {
        // "libzmq.so.5 => /lib/x86_64-linux-gnu/libzmq.so.5 (0x...)" or
        // "/lib64/ld-linux-x86-64.so.2 (0x...)"; others have no file.
        let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
        Some(PathBuf::from(path))
    });
    Ok(paths.collect())
}

/// Runs one command to its end and returns what it printed.
fn docker(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().context("could not start the program")?;
    ensure!(
        done.status.success(),
        "`{}` failed: {}",
        command.get_program().to_string_lossy(),
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{journal::Journal, ticks::Subscriber};

    #[test]
    fn docker_the_publisher_runs_in_an_image_made_on_the_spot() {
        if let Err(why) = available() {
            let required = std::env::var_os("UNDERSTUDY_REQUIRE_ALL").is_some();
            assert!(!required, "nothing may be skipped: {why:#}");
            return;
        }
        let own = std::env::current_exe().unwrap();
        let publisher = own.ancestors().nth(2).unwrap().join("tick-publisher");
        assert!(publisher.is_file(), "build it first: cargo build -p tests --bins");
        let folder = tempfile::tempdir().unwrap();
        for host in ["p1", "s1"] {
            fs::create_dir(folder.path().join(host)).unwrap();
        }
        let mut ports = crate::ports::Ports::take().unwrap();
        let ports = [ports.one().unwrap(), ports.one().unwrap()];
        let options = Options { containers: Some(Containers::names()), ..Options::default() };
        let made = Containers::create(folder.path(), &publisher, ports, &options).unwrap();
        let primary = &made.names[0].clone();
        docker(Command::new("docker").args(["start", primary])).unwrap();
        let subscriber = Subscriber::connect(ports[0]).unwrap();
        wait::until("ticks from the container", Duration::from_secs(20), || {
            ensure!(subscriber.since(0).len() > 3, "too few");
            Ok(())
        })
        .unwrap();
        kill(primary).unwrap();
        let journal = Journal::read(&folder.path().join("p1/ticks")).unwrap();
        assert_eq!(journal.starts.len(), 1);
        drop(made);
        let all = ["ps", "--all", "--format", "{{.Names}}"];
        let left = docker(Command::new("docker").args(all)).unwrap();
        assert!(!left.contains(primary.as_str()), "{left}");
    }
}
