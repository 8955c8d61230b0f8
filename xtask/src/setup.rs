//! `cargo xtask setup`: finds what the machine lacks and installs it, saying so first.
//!
//! Debian's packages through apt-get as root (or through `sudo -n`), nextest
//! through cargo. What stays missing is listed with what it keeps from running.

use crate::{SetupArgs, docker, machine, shell};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// One thing that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The system's libzmq with its development files: everything links it.
    Libzmq,
    /// pyzmq: the publishers in a second language.
    Pyzmq,
    /// A static busybox: test images are made of it.
    Busybox,
    /// Docker's engine, running.
    Docker,
    /// nft and ip: the kernel gate and its network namespaces.
    Nftables,
    /// What the lab makes its machines of: namespaces, nftables, dockerd.
    Lab,
    /// The restic program: whatever we write, it must read, and the other way.
    Restic,
    /// The rclone program: backups to whatever it reaches.
    Rclone,
    /// zstd and openssl: what backups are measured beside.
    Archivers,
    /// An S3 server to test against, of Python's registry, within `target`.
    Moto,
    /// The test runner.
    Nextest,
}

/// All that a full test run needs.
pub(crate) const EVERYTHING: [Need; 10] = [
    Need::Libzmq,
    Need::Pyzmq,
    Need::Busybox,
    Need::Docker,
    Need::Nftables,
    Need::Lab,
    Need::Restic,
    Need::Rclone,
    Need::Moto,
    Need::Nextest,
];

enum How {
    Apt(&'static [&'static str]),
    Cargo(&'static str),
    /// A Python environment of its own in `target/tools/NAME`, with one package;
    /// Debian's package that makes environments comes first.
    Python {
        name: &'static str,
        package: &'static str,
    },
}

/// What Debian's python lacks to make an environment.
const VENV: &str = "python3-venv";

impl Need {
    fn present(self) -> bool {
        match self {
            Self::Libzmq => machine::links_libzmq(),
            Self::Pyzmq => machine::has_pyzmq(),
            Self::Busybox => machine::has_busybox(),
            Self::Docker => machine::has_docker(),
            Self::Nftables => machine::has_nftables(),
            Self::Lab => machine::has_lab_programs(),
            Self::Restic => machine::has_restic(),
            Self::Rclone => machine::has_rclone(),
            Self::Archivers => machine::has_archivers(),
            Self::Moto => machine::has_moto(),
            Self::Nextest => machine::has_nextest(),
        }
    }

    fn how(self) -> How {
        match self {
            Self::Libzmq => How::Apt(&["libzmq3-dev"]),
            Self::Pyzmq => How::Apt(&["python3-zmq"]),
            Self::Busybox => How::Apt(&["busybox-static"]),
            Self::Docker => How::Apt(&["docker.io"]),
            Self::Nftables => How::Apt(&["nftables", "iproute2"]),
            // docker.io brings dockerd, containerd and runc.
            Self::Lab => How::Apt(&[
                "docker.io",
                "nftables",
                "iproute2",
                "iptables",
                "util-linux",
                "e2fsprogs",
                "libfaketime",
            ]),
            Self::Restic => How::Apt(&["restic"]),
            Self::Rclone => How::Apt(&["rclone"]),
            Self::Archivers => How::Apt(&["zstd", "openssl"]),
            Self::Moto => How::Python { name: "moto", package: "moto[server]==5.2.5" },
            Self::Nextest => How::Cargo("cargo-nextest"),
        }
    }

    /// The name, and what cannot run without it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Libzmq => ("libzmq3-dev", "nothing can be built: the agent links libzmq"),
            Self::Pyzmq => ("python3-zmq", "the zeromq probe's tests against pyzmq publishers"),
            Self::Busybox => ("busybox-static", "the Docker driver's tests: their image"),
            Self::Docker => ("docker", "the Docker driver's tests and `demo --docker`"),
            Self::Nftables => ("nftables", "the kernel gate's tests: nft and ip"),
            Self::Lab => (
                "what the lab is made of (docker.io, nftables, iproute2)",
                "the scenarios and the benchmarks of the lab",
            ),
            Self::Restic => ("restic", "the backups' tests against the restic program"),
            Self::Rclone => ("rclone", "the backups' tests against rclone, SFTP and REST"),
            Self::Archivers => ("zstd and openssl", "`bench backup`"),
            Self::Moto => ("moto (an S3 server)", "the backups' test against S3"),
            Self::Nextest => ("cargo-nextest", "`cargo xtask test`: the test runner"),
        }
    }
}

/// Brings the machine to where `needs` are met, and returns what stays missing.
///
/// With `--no-install` nothing is changed.
pub(crate) fn run(args: SetupArgs, needs: &[Need]) -> Result<Vec<Need>> {
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !need.present()).collect();
    if args.no_install {
        return Ok(leave(needs, missing));
    }
    install_packages(&missing)?;
    for need in &missing {
        match need.how() {
            How::Cargo(name) => {
                eprintln!("installing {name} from source (a few minutes, once)");
                shell::run(&mut shell::cargo(&["install", "--locked", name]))?;
            }
            How::Python { name, package } => {
                let folder = machine::tools().join(name);
                eprintln!("installing {package} into target/tools/{name}");
                shell::run(
                    Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&folder),
                )?;
                let mut pip = Command::new(folder.join("bin/pip"));
                shell::run(pip.args(["install", "--quiet", package]))?;
            }
            How::Apt(_) => {}
        }
    }
    if let Some(need) = missing.iter().find(|need| !need.present()) {
        let (name, without) = need.words();
        bail!("{name} was installed and is still not usable; without it: {without}");
    }
    if needs.contains(&Need::Docker) && !machine::docker_answers() {
        docker::start()?;
    }
    eprintln!("setup: everything needed is here");
    Ok(Vec::new())
}

/// Lists what is missing, for a machine that may not be changed.
fn leave(needs: &[Need], mut missing: Vec<Need>) -> Vec<Need> {
    let stopped = needs.contains(&Need::Docker)
        && !missing.contains(&Need::Docker)
        && !machine::docker_answers();
    if stopped {
        missing.push(Need::Docker);
    }
    for need in &missing {
        let (name, without) = need.words();
        let state = if stopped && *need == Need::Docker { "not running" } else { "missing" };
        eprintln!("setup: {name} is {state}; cannot run: {without}");
    }
    if missing.is_empty() {
        eprintln!("setup: everything needed is here");
    } else {
        eprintln!("setup: `cargo xtask setup` installs them");
    }
    missing
}

fn install_packages(missing: &[Need]) -> Result<()> {
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|need| match need.how() {
            How::Apt(packages) => Some(packages),
            How::Python { .. } => Some(&[VENV][..]),
            How::Cargo(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("setup: installing with apt-get: {}", packages.join(" "));
    let by_hand = || {
        format!(
            "could not install {0}; as root: apt-get install --yes {0} \
             (or `--no-install` to go on without)",
            packages.join(" ")
        )
    };
    shell::run(apt()?.args(["update", "--quiet"])).with_context(by_hand)?;
    shell::run(
        apt()?.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&packages),
    )
    .with_context(by_hand)
}

fn apt() -> Result<Command> {
    let mut command = if machine::is_root() {
        Command::new("apt-get")
    } else if shell::succeeds("sudo", &["-n", "true"]) {
        let mut command = Command::new("sudo");
        command.args(["-n", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        command
    } else {
        bail!("apt-get needs root, and `sudo -n` is not allowed here");
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}
