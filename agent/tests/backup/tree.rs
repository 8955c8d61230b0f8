//! Trees of files with everything odd in them, and what there is to say of one.

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    ffi::OsStr,
    fs::{self, File},
    hash::{Hash, Hasher},
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    },
    path::Path,
    time::{Duration, SystemTime},
};

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A tree with everything odd; `root` says whether files can be given away.
pub(crate) fn odd(at: &Path, root: bool) {
    fs::create_dir_all(at.join("deep/er/still")).unwrap();
    fs::create_dir(at.join("empty")).unwrap();
    fs::write(at.join("plain"), "plain\n").unwrap();
    fs::write(at.join("nothing"), "").unwrap();
    fs::write(at.join("noise"), noise(1, 3_000_000)).unwrap();
    for name in [
        &b"a\nline"[..],
        b"\xff\xfe not utf-8",
        b"quote\" back\\slash",
        b"tab\tand\x07bell",
        "grüße ✓".as_bytes(),
        b" leading and trailing ",
        b"-rf",
        &[b'n'; 255],
    ] {
        fs::write(at.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::hard_link(at.join("noise"), at.join("deep/er/same noise")).unwrap();
    fs::hard_link(at.join("noise"), at.join("zz same noise")).unwrap();
    symlink("plain", at.join("link")).unwrap();
    symlink("nowhere/at all", at.join("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xff"), at.join("odd link")).unwrap();
    mknodat(CWD, at.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    let mut sparse = File::create(at.join("sparse")).unwrap();
    sparse.write_all(b"begin").unwrap();
    sparse.set_len(64 << 20).unwrap();
    setxattr(at.join("plain"), "user.note", b"a\0value", XattrFlags::empty()).unwrap();
    setxattr(at.join("empty"), "user.of.dir", b"", XattrFlags::empty()).unwrap();
    let old = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
    File::options().write(true).open(at.join("nothing")).unwrap().set_modified(old).unwrap();
    if root {
        chown(at.join("plain"), Some(1234), Some(5678)).unwrap();
        chown(at.join("deep"), Some(4321), Some(0)).unwrap();
        lchown(at.join("dangling"), Some(77), Some(78)).unwrap();
    }
    for (name, mode) in [("plain", 0o4711), ("deep", 0o1777), ("empty", 0o2550), ("nothing", 0o000)]
    {
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(at, fs::Permissions::from_mode(0o750)).unwrap();
}

/// Everything that must be the same of a tree, a line for each file.
pub(crate) fn lines(at: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut links = BTreeMap::new();
    look(at, at, &mut links, &mut found);
    found
}

fn look(top: &Path, at: &Path, links: &mut BTreeMap<u64, String>, found: &mut Vec<String>) {
    let meta = fs::symlink_metadata(at).unwrap();
    let name = format!("{:?}", at.strip_prefix(top).unwrap());
    let first = links.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
    let kind = meta.file_type();
    let content = if kind.is_file() {
        let mut hasher = DefaultHasher::new();
        fs::read(at).unwrap().hash(&mut hasher);
        format!("{} bytes {:x}, as {first}", meta.len(), hasher.finish())
    } else if kind.is_symlink() {
        format!("-> {:?}", fs::read_link(at).unwrap())
    } else {
        format!("{kind:?}")
    };
    let attributes = if kind.is_symlink() { Vec::new() } else { attributes(at) };
    found.push(format!(
        "{name} {:o} {}:{} {}.{:09} {content} {attributes:?}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    ));
    if kind.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for path in names {
            look(top, &path, links, found);
        }
    }
}

fn attributes(at: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(at, &mut names[..]).unwrap_or(0);
    names.truncate(length);
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        let mut value = vec![0; 4096];
        let length = rustix::fs::getxattr(at, name, &mut value[..]).unwrap();
        value.truncate(length);
        found.push((String::from_utf8(name.to_vec()).unwrap(), value));
    }
    found.sort();
    found
}
