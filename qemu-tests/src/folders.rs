//! Where a run of the rig keeps its files.
//!
//! Does:      makes a folder for the logs that stay and one with a short path for sockets.
//! Does not:  delete logs of other runs, except the oldest beyond `RUNS_MAX`.
//! Bounds:    `RUNS_MAX` runs are kept.
//! Trusts:    the file system.
//! Start at:  `RunFolder::create`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs whose logs are kept; a run has some 10 MB.
const RUNS_MAX: usize = 10;

/// Begins the name of a folder for sockets; the process's number follows.
const SOCKETS: &str = "luc-rig-";

/// The folders of one run. Dropping it removes the sockets.
#[derive(Debug)]
pub struct RunFolder {
    /// `target/rig/<seconds since 1970>-<process>`.
    pub logs: PathBuf,
    /// Under the system's folder for temporary files: socket paths may have 107 bytes only.
    pub sockets: PathBuf,
}

impl RunFolder {
    /// Makes both; `target` is cargo's.
    pub fn create(target: &Path) -> io::Result<Self> {
        let runs = target.join("rig");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(io::Error::other)?;
        let logs = runs.join(format!("{}-{}", now.as_secs(), std::process::id()));
        fs::create_dir_all(&logs)?;
        remove_old(&runs)?;
        let temporary = std::env::temp_dir();
        remove_abandoned(&temporary)?;
        let sockets = temporary.join(format!("{SOCKETS}{}", std::process::id()));
        fs::create_dir(&sockets)?;
        // Whoever can write here could pose as a machine.
        fs::set_permissions(&sockets, fs::Permissions::from_mode(0o700))?;
        Ok(Self { logs, sockets })
    }

    /// The folders of one scenario: logs by its name, sockets by its number, which is shorter.
    pub fn scenario(&self, number: usize, name: &str) -> io::Result<(PathBuf, PathBuf)> {
        let (logs, sockets) = (self.logs.join(name), self.sockets.join(number.to_string()));
        fs::create_dir_all(&logs)?;
        fs::create_dir_all(&sockets)?;
        Ok((logs, sockets))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.sockets);
    }
}

fn remove_old(runs: &Path) -> io::Result<()> {
    let mut all: Vec<PathBuf> = fs::read_dir(runs)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    all.sort(); // names begin with the time
    let excess = all.len().saturating_sub(RUNS_MAX);
    for old in &all[..excess] {
        fs::remove_dir_all(old)?;
    }
    Ok(())
}

/// Removes socket folders of rigs that were killed, and of our own number's earlier owner.
fn remove_abandoned(temporary: &Path) -> io::Result<()> {
    for entry in fs::read_dir(temporary)?.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(SOCKETS)?.parse().ok());
        let is_ours = |process: u32| process == std::process::id();
        let lives = |process: u32| Path::new(&format!("/proc/{process}")).exists();
        if process.is_some_and(|process| is_ours(process) || !lives(process)) {
            let _ = fs::remove_dir_all(entry.path()); // another user's stays
        }
    }
    Ok(())
}
