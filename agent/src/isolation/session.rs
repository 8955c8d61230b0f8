//! Whose words these are: the SSH connection that a command came through.
//!
//! `sudo` and `su` clear the environment, so that of the programs above is read
//! as well; a terminal multiplexer keeps that of whoever started it, which may
//! be an older connection.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

/// Programs above this one that are looked at: a shell in a shell in `sudo`.
const ABOVE_MAX: usize = 32;

/// An SSH connection, as sshd told it to its shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The client's end.
    pub client: SocketAddr,
    /// sshd's port on this host.
    pub port: u16,
}

impl Session {
    /// The one that this process runs in; `None` on a console.
    #[must_use]
    pub fn find() -> Option<Self> {
        let own = |name| std::env::var(name).ok().and_then(|value| Self::of(&value));
        own("SSH_CONNECTION").or_else(|| own("SSH_CLIENT")).or_else(above)
    }

    /// From `SSH_CONNECTION` (`CLIENT PORT SERVER PORT`) or `SSH_CLIENT`
    /// (`CLIENT PORT PORT`).
    #[must_use]
    pub fn of(value: &str) -> Option<Self> {
        let words: Vec<&str> = value.split_whitespace().collect();
        let (client, port, own) = match words.as_slice() {
            [client, port, _, own] | [client, port, own] => (client, port, own),
            _ => return None,
        };
        // A link-local address carries its interface.
        let client: IpAddr = client.split('%').next()?.parse().ok()?;
        let client = SocketAddr::new(client.to_canonical(), port.parse().ok()?);
        Some(Self { client, port: own.parse().ok()? })
    }
}

/// That of the nearest program above which has one.
fn above() -> Option<Session> {
    let mut pid = std::process::id();
    for _ in 0..ABOVE_MAX {
        pid = parent(pid).filter(|pid| *pid > 1)?;
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if let Some(session) = environment.split(|byte| *byte == 0).find_map(connection) {
            return Some(session);
        }
    }
    None
}

fn connection(variable: &[u8]) -> Option<Session> {
    Session::of(std::str::from_utf8(variable).ok()?.strip_prefix("SSH_CONNECTION=")?)
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Who types, for the record: the user before `sudo`, and from where.
#[must_use]
pub fn who(session: Option<&Session>) -> String {
    let user = ["SUDO_USER", "LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()));
    match session {
        Some(session) => format!("{user} from {}", session.client.ip()),
        None => format!("{user} on this host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn sshd_words_are_read_in_both_forms() {
        let one = Session::of("198.51.100.7 53214 192.0.2.11 22").unwrap();
        assert_eq!(one, Session::of("198.51.100.7 53214 22").unwrap());
        assert_eq!((one.client.to_string().as_str(), one.port), ("198.51.100.7:53214", 22));
        let link = Session::of("fe80::1%eth0 53214 fe80::2%eth0 22").unwrap();
        assert_eq!(link.client.ip().to_string(), "fe80::1");
        for bad in ["", "198.51.100.7", "office 1 2", "198.51.100.7 x 22"] {
            assert_eq!(Session::of(bad), None, "{bad}");
        }
    }

    /// Not a test: what the next one runs below a shell that has the variable.
    #[test]
    fn session_child() {
        if std::env::var_os("UNDERSTUDY_SESSION_TEST").is_some() {
            println!("\nfound {:?}", Session::find().map(|session| session.client));
        }
    }

    #[test]
    fn a_session_is_found_above_what_cleared_the_environment() {
        let own = std::env::current_exe().unwrap();
        let line = format!(
            "env -u SSH_CONNECTION -u SSH_CLIENT UNDERSTUDY_SESSION_TEST=1 '{}' --exact \
             isolation::session::tests::session_child --nocapture; true",
            own.display()
        );
        let said = Command::new("sh")
            .args(["-c", &line])
            .env("SSH_CONNECTION", "198.51.100.7 53214 192.0.2.11 22")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("found Some(198.51.100.7:53214)"), "{said}");
    }
}
