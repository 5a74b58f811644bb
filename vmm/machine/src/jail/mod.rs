//! The jail of one VM's process: what is left to a guest that takes over its VMM.
//!
//! Does:      closes foreign descriptors; own mount, network, IPC and UTS namespaces with an empty
//!            read-only root (`root`); an unprivileged user, no capabilities, no way to regain
//!            any; limits on memory and descriptors; Landlock; a system-call filter per thread kind
//!            (`filter`) that kills the process.
//! Does not:  limit CPU time or device throughput: the parent's cgroup does.
//! Bounds:    `OPEN_FILES_MAX`; address space = the guest's memory + `OWN_MEMORY_BYTES`.
//! Trusts:    the kernel, and the parent's descriptors.
//! Start at:  `enter`, which runs before the guest's kernel is even read.
//!
//! A wall that can't be built stops the start, naming the wall and what to do.

mod filter;
mod landlock;
mod root;

use std::io;
use std::os::fd::RawFd;

use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use crate::control::{Jail, Start};
pub(crate) use filter::{filter_io_thread, filter_vcpu_thread};

/// Control, console, KVM, VM, vCPUs, events, disks: fewer than 60 for the largest VM.
const OPEN_FILES_MAX: u64 = 96;
/// Address space besides the guest's memory: program, stacks, heap, run pages of vCPUs, and the
/// kernel image while it is being unpacked. At the limit an allocation fails and the VM ends.
const OWN_MEMORY_BYTES: u64 = 512 << 20;
/// Capabilities known to Linux 6.12 end below this number; removing one more gives EINVAL.
const CAPABILITIES_MAX: u32 = 64;

/// Why a wall doesn't stand.
#[derive(Debug, thiserror::Error)]
#[error("Building the VM's jail: {wall} ({advice})")]
pub(crate) struct JailError {
    wall: &'static str,
    advice: &'static str,
    source: io::Error,
}

const ADVICE_NAMESPACES: &str = "the host refuses namespaces to this user; run as root, allow \
                                 user namespaces, or accept a weaker jail: luc vmm run \
                                 --without-namespaces";
const ADVICE_BUG: &str = "this works on every Linux since 5.10; please report it";

const ADVICE_SECCOMP: &str = "the host's kernel needs CONFIG_SECCOMP_FILTER";

fn wall(wall: &'static str, advice: &'static str) -> impl Fn(io::Error) -> JailError {
    move |source| JailError {
        wall,
        advice,
        source,
    }
}

/// Locks the process in. It must have one thread; `keep` are the descriptors it works with.
pub(crate) fn enter(start: &Start, keep: &[RawFd]) -> Result<(), JailError> {
    use_one_heap();
    close_others(keep).map_err(wall("closing foreign descriptors", ADVICE_BUG))?;
    let privileged = rustix::process::geteuid().is_root();
    if start.jail == Jail::Full {
        let err = wall("own namespaces", ADVICE_NAMESPACES);
        enter_namespaces(privileged).map_err(err)?;
        root::enter_empty().map_err(wall("an empty root", ADVICE_NAMESPACES))?;
    }
    empty_bounding_set();
    limit(start).map_err(wall("limits", ADVICE_BUG))?;
    if privileged {
        become_user(start.uid).map_err(wall("an unprivileged user", ADVICE_BUG))?;
    }
    drop_capabilities().map_err(wall("no capabilities", ADVICE_BUG))?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| wall("no new privileges", ADVICE_BUG)(error.into()))?;
    // Where the kernel has no Landlock, the empty root does the same for files.
    landlock::deny_all().map_err(wall("Landlock", ADVICE_BUG))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| wall("no core dumps", ADVICE_BUG)(error.into()))?;
    filter::filter_build()
        .map_err(|error| wall("a system-call filter", ADVICE_SECCOMP)(io::Error::other(error)))
}

/// One arena for all threads: they allocate next to nothing, and each arena costs memory.
fn use_one_heap() {
    // SAFETY: mallopt wants to be called before other threads allocate; it takes numbers only.
    // - The process has one thread now.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Closes all descriptors but the standard ones and `keep`.
fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().filter(|fd| *fd >= 3) {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: close_range(2) takes numbers only; no Rust object may own what it closes.
    // - All descriptors of this process that are owned by an object are in `keep`.
    let ret = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if ret == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn enter_namespaces(privileged: bool) -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let mut flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    if !privileged {
        flags |= UnshareFlags::NEWUSER;
    }
    // SAFETY: unshare(2) wants that no other code relies on the sharing of what is unshared.
    // - File descriptors and memory stay shared; the process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    if !privileged {
        // In its own user namespace the process stays who it is.
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{0} {0} 1", uid.as_raw()))?;
        std::fs::write("/proc/self/gid_map", format!("{0} {0} 1", gid.as_raw()))?;
    }
    Ok(())
}

fn limit(start: &Start) -> io::Result<()> {
    let memory = (u64::from(start.memory_mib) << 20) + OWN_MEMORY_BYTES;
    for (resource, max) in [
        (Resource::As, memory),
        (Resource::Core, 0),
        (Resource::Nofile, OPEN_FILES_MAX),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ] {
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: Some(max),
                maximum: Some(max),
            },
        )?;
    }
    Ok(())
}

fn become_user(id: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// What no program started from here could have, if one could be started. Best effort: a user
/// without CAP_SETPCAP can't, and needn't, because no_new_privs forbids gaining any.
fn empty_bounding_set() {
    for number in 0..CAPABILITIES_MAX {
        let one = CapabilitySet::from_bits_retain(1 << number);
        let _ = rustix::thread::remove_capability_from_bounding_set(one);
    }
}

fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    rustix::thread::clear_ambient_capability_set()?;
    Ok(())
}
