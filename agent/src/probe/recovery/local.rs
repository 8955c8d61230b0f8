//! What is found without asking anybody: who listens, and where compose is.

use std::{collections::BTreeSet, fs, io, path::Path};

/// Where Docker looks for its plugins, and where the older program may be.
const COMPOSE: [(&str, &str); 6] = [
    ("the plugin", "/usr/libexec/docker/cli-plugins/docker-compose"),
    ("the plugin", "/usr/lib/docker/cli-plugins/docker-compose"),
    ("the plugin", "/usr/local/lib/docker/cli-plugins/docker-compose"),
    ("the plugin", "/usr/local/libexec/docker/cli-plugins/docker-compose"),
    ("docker-compose", "/usr/bin/docker-compose"),
    ("docker-compose", "/usr/local/bin/docker-compose"),
];

/// Where compose is, in words.
pub(super) fn compose() -> Option<String> {
    let found = COMPOSE.iter().find(|(_, path)| Path::new(path).is_file());
    found.map(|(what, path)| format!("{what} at {path}"))
}

/// A listening TCP socket's state in /proc.
const LISTEN: &str = "0A";

/// Every port that somebody listens on: whether it is TCP, and its number.
pub(super) fn listening() -> Result<BTreeSet<(bool, u16)>, String> {
    let mut ports = BTreeSet::new();
    for (tcp, name) in [(true, "tcp"), (true, "tcp6"), (false, "udp"), (false, "udp6")] {
        let path = format!("/proc/net/{name}");
        match fs::read_to_string(&path) {
            Ok(text) => {
                ports.extend(text.lines().filter_map(|line| port(line, tcp)).map(|p| (tcp, p)))
            }
            // A kernel without IPv6 has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {path}: {error}")),
        }
    }
    Ok(ports)
}

/// The local port of a line: `0: 0100007F:1F90 00000000:0000 0A ...`. A UDP socket that
/// is connected to somebody takes no port away.
pub(super) fn port(line: &str, tcp: bool) -> Option<u16> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    let listens = if tcp { state == LISTEN } else { remote.ends_with(":0000") };
    let (_, port) = local.rsplit_once(':').filter(|_| listens)?;
    u16::from_str_radix(port, 16).ok()
}
