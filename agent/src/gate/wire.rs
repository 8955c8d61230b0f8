//! The few nfnetlink messages that the gate speaks, as bytes. Pure.
//!
//! Rules are loaded by `nft`, which knows their encoding; this is only what has
//! to be fast: elements of our sets, and reading back what stands. The numbers
//! are those of linux/netlink.h, linux/netfilter/nfnetlink.h and nf_tables.h.

use std::collections::BTreeSet;

/// An element's key in a set, as the kernel compares it.
pub(crate) type Key = Vec<u8>;

const NFPROTO_INET: u8 = 1;
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const INTERRUPTED: u16 = 0x10;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const NESTED: u16 = 0x8000;

const HEADER: usize = 16;
/// A netlink header and the nfgenmsg behind it.
const HEADERS: usize = HEADER + 4;

const ELEMENT: u16 = 1;
const KEY: u16 = 1;
const VALUE: u16 = 1;
const TIMEOUT: u16 = 4;
const EXPIRATION: u16 = 5;

/// What is asked of nf_tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    GetTable,
    DelTable,
    GetChains,
    GetRules,
    GetSets,
    GetCounters,
    NewElements,
    GetElements,
    DelElements,
}

impl Message {
    const fn number(self) -> u16 {
        let number = match self {
            Self::GetTable => 1,
            Self::DelTable => 2,
            Self::GetChains => 4,
            Self::GetRules => 7,
            Self::GetSets => 10,
            Self::GetCounters => 19,
            Self::NewElements => 12,
            Self::GetElements => 13,
            Self::DelElements => 14,
        };
        SUBSYSTEM << 8 | number
    }
}

/// The number of the event that ends every change of the ruleset.
const NEW_GENERATION: u16 = SUBSYSTEM << 8 | 15;

/// Adds one attribute, padded to four bytes.
fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn nested(out: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    attribute(out, kind | NESTED, &inner);
}

fn text(out: &mut Vec<u8>, kind: u16, words: &str) {
    let mut value = words.as_bytes().to_vec();
    value.push(0);
    attribute(out, kind, &value);
}

fn message(kind: u16, flags: u16, seq: u32, family: u8, resource: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADERS + body.len());
    let length = u32::try_from(HEADERS + body.len()).unwrap_or(u32::MAX);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((flags | REQUEST).to_ne_bytes());
    out.extend(seq.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    out.extend([family, 0]);
    out.extend(resource.to_be_bytes());
    out.extend(body);
    out
}

/// Elements of a set; `timeout` in milliseconds, 0 for none.
fn elements(table: &str, set: &str, keys: &[Key], timeout: u64) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, 1, table);
    text(&mut body, 2, set);
    nested(&mut body, 3, |list| {
        for key in keys {
            nested(list, ELEMENT, |element| {
                nested(element, KEY, |data| attribute(data, VALUE, key));
                if timeout > 0 {
                    attribute(element, TIMEOUT, &timeout.to_be_bytes());
                }
            });
        }
    });
    body
}

/// Elements that go into one message: an attribute's length has 16 bits.
const CHUNK: usize = 256;

/// Changes that the kernel makes together or not at all.
#[derive(Debug)]
pub(crate) struct Batch {
    table: String,
    bytes: Vec<u8>,
    seq: u32,
}

impl Batch {
    /// An empty one, its messages numbered from `seq`.
    pub(crate) fn new(table: &str, seq: u32) -> Self {
        let bytes = message(BATCH_BEGIN, 0, seq, 0, SUBSYSTEM, &[]);
        Self { table: table.into(), bytes, seq }
    }

    fn push(&mut self, kind: Message, flags: u16, body: &[u8]) {
        self.seq = self.seq.wrapping_add(1);
        let part = message(kind.number(), flags | ACK, self.seq, NFPROTO_INET, 0, body);
        self.bytes.extend(part);
    }

    /// Adds elements; one that is there stays as it is.
    pub(crate) fn add(&mut self, set: &str, keys: &[Key], timeout: u64) {
        for part in keys.chunks(CHUNK) {
            let body = elements(&self.table, set, part, timeout);
            self.push(Message::NewElements, CREATE, &body);
        }
    }

    /// Removes elements that are there.
    pub(crate) fn remove(&mut self, set: &str, keys: &[Key]) {
        for part in keys.chunks(CHUNK) {
            let body = elements(&self.table, set, part, 0);
            self.push(Message::DelElements, 0, &body);
        }
    }

    /// Removes elements that may be there. Removing what is not there would
    /// undo the whole batch, so it is added first.
    pub(crate) fn clear(&mut self, set: &str, keys: &[Key]) {
        // Any timeout: none of these outlives the batch.
        self.add(set, keys, 1);
        self.remove(set, keys);
    }

    /// Removes the table.
    pub(crate) fn remove_table(&mut self) {
        let mut body = Vec::new();
        text(&mut body, 1, &self.table);
        self.push(Message::DelTable, 0, &body);
    }

    /// The bytes to send, and the number of the last change, whose
    /// acknowledgement says that all are made.
    pub(crate) fn finish(mut self) -> (Vec<u8>, u32) {
        let last = self.seq;
        let end = message(BATCH_END, 0, last.wrapping_add(1), 0, SUBSYSTEM, &[]);
        self.bytes.extend(end);
        (self.bytes, last)
    }
}

/// A question about a table; with `set`, about that set.
pub(crate) fn question(kind: Message, table: &str, set: Option<&str>, seq: u32) -> Vec<u8> {
    let mut body = Vec::new();
    let flags = match kind {
        // Dumped and looked through: before Linux 5.10 a rule's dump is the only
        // one that the kernel narrows by table.
        Message::GetTable => 0,
        Message::DelTable
        | Message::GetChains
        | Message::GetRules
        | Message::GetSets
        | Message::GetCounters
        | Message::NewElements
        | Message::GetElements
        | Message::DelElements => DUMP,
    };
    text(&mut body, 1, table);
    if let Some(set) = set {
        text(&mut body, 2, set);
    }
    message(kind.number(), flags, seq, NFPROTO_INET, 0, &body)
}

/// One message that came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// 0 is an acknowledgement, else a negative errno.
    Status { seq: u32, errno: i32 },
    /// A dump's end.
    Done { seq: u32 },
    /// A part of a dump; `interrupted` when it changed while it was read.
    Part { seq: u32, interrupted: bool, body: &'a [u8] },
    /// The ruleset changed, by this socket and this program.
    Changed { port: u32, program: String },
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The messages of one datagram; ends at what cannot be read.
pub(crate) fn replies(mut bytes: &[u8]) -> Vec<Reply<'_>> {
    let mut found = Vec::new();
    while let Some(reply) = one(&mut bytes) {
        found.push(reply);
    }
    found
}

fn one<'a>(bytes: &mut &'a [u8]) -> Option<Reply<'a>> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let whole = bytes.get(..length).filter(|whole| whole.len() >= HEADER)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    let (kind, flags) = (u16_at(whole, 4)?, u16_at(whole, 6)?);
    let (seq, port) = (u32_at(whole, 8)?, u32_at(whole, 12)?);
    let body = whole.get(HEADERS..).unwrap_or_default();
    Some(match kind {
        ERROR => Reply::Status { seq, errno: u32_at(whole, HEADER)?.cast_signed() },
        DONE => Reply::Done { seq },
        NEW_GENERATION => {
            let program = find(body, 3).map(words).unwrap_or_default();
            Reply::Changed { port, program }
        }
        _ => Reply::Part { seq, interrupted: flags & INTERRUPTED != 0, body },
    })
}

/// The attributes of a body, by kind.
pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let length = usize::from(length);
        let Some(value) = bytes.get(4..length) else { break };
        found.push((kind & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The first attribute of a kind.
pub(crate) fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).into_iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// A text attribute's words.
pub(crate) fn words(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number in network order of up to eight bytes.
pub(crate) fn number(value: &[u8]) -> u64 {
    value.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// An element as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub(crate) key: Key,
    /// Milliseconds until it is gone; `None` for one that stays.
    pub(crate) left: Option<u64>,
}

/// The elements in one part of a set's dump.
pub(crate) fn listed(body: &[u8]) -> BTreeSet<Element> {
    let list = find(body, 3).map(attributes).unwrap_or_default();
    let element = |inner: &[u8]| {
        let key = find(find(inner, KEY)?, VALUE)?.to_vec();
        Some(Element { key, left: find(inner, EXPIRATION).map(number) })
    };
    list.into_iter().filter_map(|(_, inner)| element(inner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_framed_and_numbered() {
        let mut batch = Batch::new("understudy", 7);
        batch.clear("open_fx", &[vec![2], vec![10]]);
        let (bytes, last) = batch.finish();
        assert_eq!(last, 9);
        let mut rest = bytes.as_slice();
        let mut kinds = Vec::new();
        while !rest.is_empty() {
            kinds.push(u16_at(rest, 4).unwrap());
            let length = u32_at(rest, 0).unwrap() as usize;
            assert_eq!(length % 4, 0);
            rest = &rest[length..];
        }
        assert_eq!(kinds, [16, 0x0a0c, 0x0a0e, 17]);
    }

    #[test]
    fn elements_are_read_as_they_are_written() {
        let keys = vec![vec![2], b"docker0\0\0\0\0\0\0\0\0\0\x0a\0\0\x02".to_vec()];
        let body = elements("t", "s", &keys, 0);
        let read: Vec<Key> = listed(&body).into_iter().map(|element| element.key).collect();
        assert_eq!(read.len(), 2);
        assert!(keys.iter().all(|key| read.contains(key)));
        assert_eq!(number(&1500_u64.to_be_bytes()), 1500);
    }

    #[test]
    fn what_is_cut_short_is_not_read_beyond() {
        let mut whole = message(ERROR, 0, 5, 0, 0, &[0; 12]);
        assert_eq!(replies(&whole), [Reply::Status { seq: 5, errno: 0 }]);
        whole.truncate(whole.len() - 1);
        assert!(replies(&whole).is_empty() && replies(&whole[..3]).is_empty());
        assert!(attributes(&[9, 0, 1, 0, 1]).is_empty());
        assert!(attributes(&[0, 0, 0, 0]).is_empty());
    }
}
