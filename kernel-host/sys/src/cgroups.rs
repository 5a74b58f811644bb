//! Control groups: what each process of ours may use.
//!
//! Does:      makes a group with limits, moves a process into it, ends all in it, removes it.
//! Does not:  choose the limits.
//! Bounds:    none of its own; the caller removes what it makes.
//! Trusts:    cgroup2 at `ROOT`.
//! Start at:  `Group::create`.

use std::io;
use std::path::{Path, PathBuf};

/// Where PID 1 mounts it.
pub const ROOT: &str = "/sys/fs/cgroup";

/// What a group may use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    pub memory_max_bytes: Option<u64>,
    pub processes_max: Option<u32>,
}

/// A group of processes.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

/// A step on a control group that failed.
#[derive(Debug, thiserror::Error)]
#[error("control group {}: {step}", path.display())]
pub struct GroupError {
    pub path: PathBuf,
    pub step: &'static str,
    pub source: io::Error,
}

impl Group {
    /// Makes (or finds) the group `name`, below the root or below another group.
    ///
    /// # Errors
    /// When the kernel refuses the group or a limit.
    pub fn create(parent: Option<&Group>, name: &str, limits: Limits) -> Result<Group, GroupError> {
        let parent = parent.map_or(Path::new(ROOT), |group| &group.path);
        let group = Group {
            path: parent.join(name),
        };
        match std::fs::create_dir(&group.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(group.error("creating it", source)),
        }
        if let Some(bytes) = limits.memory_max_bytes {
            group.write("memory.max", &bytes.to_string(), "limiting its memory")?;
        }
        if let Some(processes) = limits.processes_max {
            group.write("pids.max", &processes.to_string(), "limiting its processes")?;
        }
        Ok(group)
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the groups inside have limits of their own. The group may then hold no process itself.
    ///
    /// # Errors
    /// When the kernel lacks a controller.
    pub fn delegate(&self) -> Result<(), GroupError> {
        self.write(
            "cgroup.subtree_control",
            CONTROLLERS,
            "passing its controllers on",
        )
    }

    /// Moves a process into the group.
    ///
    /// # Errors
    /// When the process is gone or the group is full.
    pub fn adopt(&self, pid: u32) -> Result<(), GroupError> {
        self.write("cgroup.procs", &pid.to_string(), "taking a process in")
    }

    /// Ends every process in the group.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> Result<(), GroupError> {
        self.write("cgroup.kill", "1", "ending its processes")
    }

    /// Removes the empty group.
    ///
    /// # Errors
    /// When a process is still in it.
    pub fn remove(&self) -> Result<(), GroupError> {
        std::fs::remove_dir(&self.path).map_err(|source| self.error("removing it", source))
    }

    /// Ends what runs inside and removes the groups one level below.
    pub fn clear(&self) {
        // Both may fail when the group is empty already or a process takes a moment to go:
        // the next use of the same name finds the group and goes on.
        let _ = self.kill();
        for entry in std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _ = std::fs::remove_dir(entry.path());
            }
        }
    }

    fn write(&self, file: &str, text: &str, step: &'static str) -> Result<(), GroupError> {
        std::fs::write(self.path.join(file), text).map_err(|source| self.error(step, source))
    }

    fn error(&self, step: &'static str, source: io::Error) -> GroupError {
        GroupError {
            path: self.path.clone(),
            step,
            source,
        }
    }
}

/// The controllers a node uses.
const CONTROLLERS: &str = "+memory +pids";

/// Lets the groups directly below the root have limits.
///
/// # Errors
/// When the kernel lacks a controller.
pub fn delegate_root() -> Result<(), GroupError> {
    Group {
        path: PathBuf::from(ROOT),
    }
    .delegate()
}
