//! `apply`, `diff`, `export`: group files in and out, as text.
//!
//! The files are read here and judged by the leader: all are taken or none.

use crate::{
    cli::{Export, Files},
    client::{Client, Repeat, request_id},
    end::{End, Failure},
    out::Out,
    render,
};
use anyhow::Context as _;
use daemon::{config, durable, exit::Exit};
use proto::v1::{ApplyReply, ApplyRequest, Document, ExportReply, ExportRequest};
use std::path::{Path, PathBuf};

/// More group files than an installation of twenty hosts can have.
const FILES_MAX: usize = 200;
/// All texts together: a gRPC message may have 4 MiB.
const BYTES_MAX: usize = 3 * 1024 * 1024;

pub(crate) async fn apply(
    args: &Files,
    open: impl Fn() -> Result<Client, Failure>,
    out: Out,
) -> Result<End, Failure> {
    let (paths, mut request) = read(&args.files)?;
    request.request_id = request_id();
    let reply =
        open()?.call(request, Repeat::Safe, async |api, request| api.apply(request).await).await?;
    show(reply, &paths, out)
}

pub(crate) async fn diff(
    args: &Files,
    open: impl Fn() -> Result<Client, Failure>,
    out: Out,
) -> Result<End, Failure> {
    let (paths, request) = read(&args.files)?;
    let reply =
        open()?.call(request, Repeat::Safe, async |api, request| api.diff(request).await).await?;
    show(reply, &paths, out)
}

/// Prints faults or changes; a fault's file gets the path that was read.
fn show(mut reply: ApplyReply, paths: &[PathBuf], out: Out) -> Result<End, Failure> {
    for fault in &mut reply.faults {
        let read = paths.iter().find(|path| file_name(path) == fault.file);
        if let Some(path) = read {
            fault.file = path.display().to_string();
        }
    }
    if reply.faults.is_empty() {
        out.either(&reply, |reply| render::apply::changes(&reply.changes))?;
        return Ok(End::DONE);
    }
    if out.json {
        out.document(&reply)?;
    }
    out.talk(&render::apply::faults(&reply.faults));
    Ok(End::As(Exit::Usage))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The group files of a directory, in the order of their names, or one file.
fn read(given: &Path) -> Result<(Vec<PathBuf>, ApplyRequest), Failure> {
    let paths = paths(given)?;
    let mut documents = Vec::with_capacity(paths.len());
    let mut bytes = 0;
    for path in &paths {
        let source = config::read(path).map_err(|error| Failure::usage(error.to_string()))?;
        bytes += source.text().len();
        documents.push(Document { name: file_name(path), text: source.text().to_owned() });
    }
    if bytes > BYTES_MAX {
        return Err(Failure::usage(format!(
            "the files in {} have {bytes} bytes together; at most {BYTES_MAX} are sent",
            given.display()
        )));
    }
    Ok((paths, ApplyRequest { documents, ..Default::default() }))
}

fn paths(given: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::usage(format!("cannot read {}: {error}", given.display()))
            .hint("-f takes a directory with *.toml group files, or one such file")
    };
    if !std::fs::metadata(given).map_err(cannot)?.is_dir() {
        return Ok(vec![given.to_path_buf()]);
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(given).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        // Editors leave hidden files about.
        let hidden = file_name(&path).starts_with('.');
        if !hidden && path.extension().is_some_and(|ext| ext == "toml") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    match paths.len() {
        0 => Err(Failure::usage(format!("there is no *.toml file in {}", given.display()))
            .hint("`coordctl export -o DIR` writes the files in force")),
        count if count > FILES_MAX => Err(Failure::usage(format!(
            "there are {count} *.toml files in {}; at most {FILES_MAX} are read",
            given.display()
        ))),
        _ => Ok(paths),
    }
}

pub(crate) async fn export(args: &Export, client: &mut Client, out: Out) -> Result<End, Failure> {
    let reply = client
        .call(ExportRequest {}, Repeat::Safe, async |api, request| api.export(request).await)
        .await?;
    match &args.output {
        Some(dir) => {
            let written = write(&reply, dir, args.force)?;
            if out.json {
                out.document(&reply)?;
            }
            out.talk(&format!("{} in {}", render::words::count(written, "file"), dir.display()));
        }
        None => out.either(&reply, together)?,
    }
    Ok(End::DONE)
}

/// All documents as one text, each under its name.
fn together(reply: &ExportReply) -> String {
    let parts: Vec<String> = reply
        .documents
        .iter()
        .map(|document| format!("# {}\n{}", document.name, document.text))
        .collect();
    if parts.is_empty() { "# no groups yet".into() } else { render::paragraphs(&parts) }
}

/// Writes every document; nothing is written when one of them may not be.
fn write(reply: &ExportReply, dir: &Path, force: bool) -> Result<usize, Failure> {
    let mut files = Vec::with_capacity(reply.documents.len());
    for document in &reply.documents {
        let name = Path::new(&document.name);
        // A name from elsewhere must not lead out of the directory.
        if name.file_name() != Some(name.as_os_str()) || document.name.starts_with('.') {
            return Err(Failure::failed(format!(
                "the leader sent a file with the name `{}`, which is not written",
                document.name
            )));
        }
        let path = dir.join(name);
        let there = durable::read_optional(&path)?;
        let differs = there.is_some_and(|there| there != document.text.as_bytes());
        if differs && !force {
            return Err(Failure::failed(format!("{} is there and differs", path.display()))
                .hint("choose another directory, or replace it with --force"));
        }
        files.push((path, &document.text));
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (path, text) in &files {
        durable::write_atomic(path, text.as_bytes(), 0o644)?;
    }
    Ok(files.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(documents: &[(&str, &str)]) -> ExportReply {
        let documents = documents
            .iter()
            .map(|(name, text)| Document { name: (*name).into(), text: (*text).into() })
            .collect();
        ExportReply { documents }
    }

    #[test]
    fn a_directory_is_read_by_name_and_only_its_toml_files() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("b.toml", "b"), ("a.toml", "a"), (".c.toml", "c"), ("d.txt", "d")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let (paths, request) = read(dir.path()).unwrap();
        assert_eq!(paths.len(), 2);
        let sent: Vec<_> =
            request.documents.iter().map(|d| (d.name.as_str(), d.text.as_str())).collect();
        assert_eq!(sent, [("a.toml", "a"), ("b.toml", "b")]);
        let (_, one) = read(&dir.path().join("d.txt")).unwrap();
        assert_eq!(one.documents[0].name, "d.txt");
    }

    #[test]
    fn what_cannot_be_read_is_a_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap_err().end.code(), 2);
        assert_eq!(read(&dir.path().join("absent")).unwrap_err().end.code(), 2);
    }

    #[test]
    fn an_export_keeps_what_is_there_and_stays_in_its_directory() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("out");
        assert_eq!(write(&reply(&[("fx.toml", "one\n")]), &dir, false).unwrap(), 1);
        assert_eq!(write(&reply(&[("fx.toml", "one\n")]), &dir, false).unwrap(), 1);
        let differs = write(&reply(&[("new.toml", "x"), ("fx.toml", "two\n")]), &dir, false);
        assert!(differs.unwrap_err().hint.contains("--force"));
        assert!(!dir.join("new.toml").exists(), "nothing is written when one file may not be");
        assert_eq!(write(&reply(&[("fx.toml", "two\n")]), &dir, true).unwrap(), 1);
        for bad in ["../x.toml", "/etc/x.toml", "a/b.toml", "", ".hidden.toml", ".."] {
            assert!(write(&reply(&[(bad, "x")]), &dir, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_together_is_one_text() {
        let text = together(&reply(&[("a.toml", "[group]\n"), ("b.toml", "[group]\n")]));
        assert_eq!(text, "# a.toml\n[group]\n\n# b.toml\n[group]");
    }
}
