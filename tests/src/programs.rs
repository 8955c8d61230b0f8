//! Where the real programs are: beside the one that runs.

use anyhow::{Context, Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
};

/// The built programs of one profile.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

/// The programs that a cluster needs.
const NEEDED: [&str; 4] =
    ["understudy-coordinator", "understudy-agent", "coordctl", "tick-publisher"];

impl Programs {
    /// Finds them: in `UNDERSTUDY_PROGRAMS`, or in the folder of the running
    /// program (test programs lie one level deeper, in `deps`).
    ///
    /// # Errors
    /// When one is missing: which, where, and the command that builds it.
    pub fn find() -> Result<Self> {
        let folder = match env::var_os("UNDERSTUDY_PROGRAMS") {
            Some(folder) => PathBuf::from(folder),
            None => beside()?,
        };
        for name in NEEDED {
            if !folder.join(name).is_file() {
                bail!(
                    "{} is missing; build it first: \
                     cargo build --bins -p agent -p coordinator -p coordctl -p tests \
                     (`cargo xtask test` does)",
                    folder.join(name).display()
                );
            }
        }
        Ok(Self { folder })
    }

    /// The folder they are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One of them.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn beside() -> Result<PathBuf> {
    let own = env::current_exe().context("could not tell where the running program lies")?;
    let folder = own.parent().context("the running program lies in no folder")?;
    let folder = match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    Ok(folder.to_path_buf())
}
