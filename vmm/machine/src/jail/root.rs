//! An empty, read-only root directory, with the old one out of reach.

use std::io;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Where the new root is mounted before it becomes the root: whichever exists.
const PLACES: [&str; 4] = ["/tmp", "/run", "/proc", "/dev"];
const FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Replaces the root of this process's own mount namespace.
pub(super) fn enter_empty() -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let place = PLACES
        .into_iter()
        .find(|place| std::path::Path::new(place).is_dir())
        .ok_or(Errno::NOENT)?;
    rustix::mount::mount(
        "none",
        place,
        "tmpfs",
        FLAGS,
        c"size=4k,nr_inodes=1,mode=0555",
    )?;
    rustix::process::chdir(place)?;
    match rustix::process::pivot_root(".", ".") {
        // The old root now lies on top of the new one; off with it.
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH)?,
        // An initramfs can't be pivoted away. The new root covers it instead, and nothing that
        // could uncover it (capabilities, mount, chroot) is left to this process.
        Err(Errno::INVAL) => {
            rustix::mount::mount_move(".", "/")?;
            rustix::process::chroot(".")?;
        }
        Err(error) => return Err(error.into()),
    }
    rustix::process::chdir("/")?;
    rustix::mount::mount_remount("/", FLAGS | MountFlags::RDONLY, c"")?;
    match rustix::fs::openat(
        CWD,
        "/proc",
        rustix::fs::OFlags::PATH,
        rustix::fs::Mode::empty(),
    ) {
        Err(Errno::NOENT) => Ok(()),
        _ => Err(io::Error::other("the old root is still visible")),
    }
}
