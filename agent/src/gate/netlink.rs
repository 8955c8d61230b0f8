//! Our two sockets to the kernel's nf_tables: one asks and changes, one hears
//! of everybody's changes. No call waits longer than [`ANSWER_LIMIT`].
//!
//! They belong to the network namespace of the thread that opens them.

use super::wire::{self, Batch, Element, Message, Reply};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname,
        netlink::{self, SocketAddrNetlink},
        recv, send, socket_with,
        sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_timeout},
    },
};
use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

/// How long the kernel may take: it answers in microseconds, and within the
/// longest change of somebody else's big ruleset, which holds the same lock.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Largest datagram that the kernel makes of a dump.
const DATAGRAM: usize = 64 * 1024;

/// Room for the news of others' changes, in bytes: an overflow only means that
/// all is looked at again.
const NEWS_ROOM: usize = 256 * 1024;

/// Multicast group of nf_tables (`NFNLGRP_NFTABLES`, 7) as a mask.
const NEWS_GROUP: u32 = 1 << 6;

/// How often a dump that changed while it was read is read again.
const DUMPS_MAX: usize = 8;

/// Parts of a dump that are kept: far beyond any ruleset that we look at.
const PARTS_MAX: usize = 100_000;

/// Why the kernel did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// No socket.
    #[error("no netlink socket to nf_tables: {0} (is nf_tables in this kernel?)")]
    Open(Errno),
    /// This process may not.
    #[error("the kernel refuses: CAP_NET_ADMIN is missing")]
    NotAllowed,
    /// The table, or what was named in it, is not there.
    #[error("it is not there")]
    Missing,
    /// Anything else that it said.
    #[error("the kernel refuses: {0}")]
    Refused(Errno),
    /// No answer, or one that cannot be read.
    #[error("no answer from the kernel: {0}")]
    Silent(Errno),
}

fn refused(errno: i32) -> NetlinkError {
    match Errno::from_raw_os_error(-errno) {
        Errno::PERM | Errno::ACCESS => NetlinkError::NotAllowed,
        Errno::NOENT => NetlinkError::Missing,
        other => NetlinkError::Refused(other),
    }
}

/// Asks and changes.
#[derive(Debug)]
pub(crate) struct Kernel {
    socket: OwnedFd,
    seq: u32,
    /// Our own name in the news.
    port: u32,
    buffer: Vec<u8>,
}

fn open(groups: u32) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let kind = Some(netlink::NETFILTER);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, kind)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

impl Kernel {
    /// Opens the socket in this thread's network namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let opened = || -> Result<(OwnedFd, u32), Errno> {
            let socket = open(0)?;
            set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_LIMIT))?;
            let port = SocketAddrNetlink::try_from(getsockname(&socket)?)?.pid();
            Ok((socket, port))
        };
        let (socket, port) = opened().map_err(NetlinkError::Open)?;
        Ok(Self { socket, seq: 1, port, buffer: vec![0; DATAGRAM] })
    }

    /// Our own name in the news.
    pub(crate) const fn port(&self) -> u32 {
        self.port
    }

    /// A batch for this table, to be filled and given to [`Self::commit`].
    pub(crate) fn batch(&self, table: &str) -> Batch {
        Batch::new(table, self.seq)
    }

    /// Makes all changes of the batch, or none.
    pub(crate) fn commit(&mut self, batch: Batch) -> Result<(), NetlinkError> {
        let (bytes, last) = batch.finish();
        let first = self.seq;
        self.seq = last.wrapping_add(2);
        send(&self.socket, &bytes, SendFlags::empty()).map_err(NetlinkError::Silent)?;
        let mut failure = None;
        loop {
            // A batch is worked off, and answered, before `send` returns.
            let length = match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failure.unwrap_or(NetlinkError::Silent(error))),
            };
            for reply in wire::replies(&self.buffer[..length]) {
                match reply {
                    Reply::Status { seq, errno: 0 } if seq == last => {
                        return failure.map_or(Ok(()), Err);
                    }
                    Reply::Status { seq, errno }
                        if errno != 0 && seq.wrapping_sub(first) <= last.wrapping_sub(first) =>
                    {
                        let error = refused(errno);
                        failure.get_or_insert(error);
                        if seq == last || seq == first {
                            return Err(error);
                        }
                    }
                    Reply::Status { .. }
                    | Reply::Done { .. }
                    | Reply::Part { .. }
                    | Reply::Changed { .. } => {}
                }
            }
        }
    }

    /// The bodies of a dump.
    fn dump(
        &mut self,
        kind: Message,
        table: &str,
        set: Option<&str>,
    ) -> Result<Vec<Vec<u8>>, NetlinkError> {
        for _ in 0..DUMPS_MAX {
            if let Some(parts) = self.dump_once(kind, table, set)? {
                return Ok(parts);
            }
        }
        Err(NetlinkError::Silent(Errno::AGAIN))
    }

    /// `None` when the ruleset changed meanwhile.
    fn dump_once(
        &mut self,
        kind: Message,
        table: &str,
        set: Option<&str>,
    ) -> Result<Option<Vec<Vec<u8>>>, NetlinkError> {
        let wanted = self.seq;
        self.seq = self.seq.wrapping_add(1);
        let question = wire::question(kind, table, set, wanted);
        send(&self.socket, &question, SendFlags::empty()).map_err(NetlinkError::Silent)?;
        let single = kind == Message::GetTable;
        let (mut parts, mut whole) = (Vec::new(), true);
        loop {
            let length = match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(NetlinkError::Silent(error)),
            };
            for reply in wire::replies(&self.buffer[..length]) {
                match reply {
                    Reply::Part { seq, interrupted, body } if seq == wanted => {
                        whole &= !interrupted && parts.len() < PARTS_MAX;
                        if parts.len() < PARTS_MAX {
                            parts.push(body.to_vec());
                        }
                        if single {
                            return Ok(Some(parts));
                        }
                    }
                    Reply::Done { seq } if seq == wanted => {
                        return Ok(whole.then_some(parts));
                    }
                    Reply::Status { seq, errno } if seq == wanted && errno != 0 => {
                        return Err(refused(errno));
                    }
                    Reply::Part { .. }
                    | Reply::Done { .. }
                    | Reply::Status { .. }
                    | Reply::Changed { .. } => {}
                }
            }
        }
    }

    /// The table's handle, which a table made anew has not; `None` where there is none.
    pub(crate) fn table(&mut self, table: &str) -> Result<Option<u64>, NetlinkError> {
        match self.dump(Message::GetTable, table, None) {
            Ok(parts) => Ok(parts.first().and_then(|body| wire::find(body, 4)).map(wire::number)),
            Err(NetlinkError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The elements of a set.
    pub(crate) fn elements(
        &mut self,
        table: &str,
        set: &str,
    ) -> Result<BTreeSet<Element>, NetlinkError> {
        let parts = self.dump(Message::GetElements, table, Some(set))?;
        Ok(parts.iter().flat_map(|body| wire::listed(body)).collect())
    }

    /// Packets that a named counter of the table counted.
    pub(crate) fn counter(&mut self, table: &str, name: &str) -> Result<u64, NetlinkError> {
        // Attributes of an object: 1 its table, 2 its name, 4 its data, and in
        // there 2 the packets.
        let parts = self.dump(Message::GetCounters, table, None)?;
        let ours = |body: &&Vec<u8>| {
            wire::find(body, 1).map(wire::words).as_deref() == Some(table)
                && wire::find(body, 2).map(wire::words).as_deref() == Some(name)
        };
        let body = parts.iter().find(ours).ok_or(NetlinkError::Missing)?;
        let data = wire::find(body, 4).unwrap_or_default();
        Ok(wire::find(data, 2).map(wire::number).unwrap_or_default())
    }

    /// A number that stays the same as long as nobody changes the table's
    /// chains, rules or sets; their elements and counters are not in it.
    pub(crate) fn fingerprint(&mut self, table: &str) -> Result<u64, NetlinkError> {
        let mut hasher = DefaultHasher::new();
        self.table(table)?.ok_or(NetlinkError::Missing)?.hash(&mut hasher);
        for kind in [Message::GetChains, Message::GetRules, Message::GetSets] {
            let parts = self.dump(kind, table, None)?;
            // Attribute 1 is the table's name in all three.
            let is_ours =
                |body: &&Vec<u8>| wire::find(body, 1).map(wire::words).as_deref() == Some(table);
            let ours: Vec<&Vec<u8>> = parts.iter().filter(is_ours).collect();
            // A set's own attributes may count its elements; its table, name and
            // handle (16) say which one it is.
            if kind == Message::GetSets {
                for body in ours {
                    (wire::find(body, 2), wire::find(body, 16)).hash(&mut hasher);
                }
            } else {
                ours.hash(&mut hasher);
            }
        }
        Ok(hasher.finish())
    }
}

/// Hears of every change of the ruleset.
#[derive(Debug)]
pub(crate) struct News {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl News {
    /// Opens the socket in this thread's network namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let socket = open(NEWS_GROUP).map_err(|error| match error {
            Errno::PERM => NetlinkError::NotAllowed,
            other => NetlinkError::Open(other),
        })?;
        // Smaller where the system allows less: an overflow is news too.
        let _ = set_socket_recv_buffer_size(&socket, NEWS_ROOM);
        Ok(Self { socket, buffer: vec![0; DATAGRAM] })
    }

    /// Takes all news; the program that changed something last, if it was not
    /// the socket `own`.
    pub(crate) fn others(&mut self, own: u32) -> Option<String> {
        let mut last = None;
        loop {
            match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    for reply in wire::replies(&self.buffer[..length]) {
                        match reply {
                            Reply::Changed { port, program } if port != own => {
                                last = Some(program);
                            }
                            Reply::Changed { .. }
                            | Reply::Status { .. }
                            | Reply::Done { .. }
                            | Reply::Part { .. } => {}
                        }
                    }
                }
                // Some news were lost, so anything may have changed.
                Err(Errno::NOBUFS) => last = Some("somebody".into()),
                Err(Errno::INTR) => {}
                Err(_) => return last,
            }
        }
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
