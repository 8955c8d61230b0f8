//! Calling other programs, with what was called in every error.

use anyhow::{Context, Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Runs `command` with this terminal's input and output; fails unless it ends with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("+ {}", words(command));
    let status =
        command.status().with_context(|| format!("could not start `{}`", words(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", words(command));
    }
    Ok(())
}

/// Whether `program` with `arguments` starts and ends with 0, in silence.
pub(crate) fn succeeds(program: impl AsRef<Path>, arguments: &[&str]) -> bool {
    Command::new(program.as_ref())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What `program` with `arguments` prints on stdout, when it ends with 0.
pub(crate) fn output(program: impl AsRef<Path>, arguments: &[&str]) -> Result<String> {
    let program = program.as_ref();
    let shown = format!("{} {}", program.display(), arguments.join(" "));
    let done = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("could not start `{shown}`"))?;
    if !done.status.success() {
        bail!("`{shown}` ended with {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{shown}` printed other than UTF-8"))
}

/// The workspace's folder: xtask's own parent, so that the current folder does not matter.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// The cargo that runs us, in the workspace's folder.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Where cargo puts what it builds, as cargo itself says.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let done = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    if !done.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&done.stderr));
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&done.stdout).context("`cargo metadata` printed no JSON")?;
    let target = metadata["target_directory"]
        .as_str()
        .context("`cargo metadata` names no target_directory")?;
    Ok(target.into())
}

fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
