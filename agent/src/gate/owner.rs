//! Who keeps a table: one process in a network namespace, told by a socket's
//! name that the kernel frees by itself when that process ends.

use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixListener},
};

/// The right to change a table.
#[derive(Debug)]
pub(crate) struct Owner {
    _name: UnixListener,
}

impl Owner {
    /// Takes it for this process; `None` while another process has it.
    pub(crate) fn take(table: &str) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("understudy-gate/{table}")).ok()?;
        UnixListener::bind_addr(&name).ok().map(|name| Self { _name: name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_one_keeper_at_a_time() {
        let table = format!("understudy_owner_{}", std::process::id());
        let owner = Owner::take(&table).unwrap();
        assert!(Owner::take(&table).is_none());
        assert!(Owner::take(&format!("{table}x")).is_some());
        drop(owner);
        assert!(Owner::take(&table).is_some());
    }
}
