//! System calls that a VM's process makes. Any other kills the process (SIGSYS).
//!
//! Does:      compiles and installs three kinds of filter. The first one stands while the machine
//!            is built, because the kernel that is unpacked then comes from a user; it also holds
//!            for every thread later. The narrow ones of running threads come on top of it.
//! Does not:  look behind pointers: arguments in memory can't be filtered.
//! Bounds:    4,096 instructions each, the kernel's limit.
//! Trusts:    nothing in the process after its installation; not even the process can undo it.
//! Start at:  `TABLE`, which is the documentation: the call, who makes it, what for.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::wire::TUNSETOFFLOAD;

/// Who makes the call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Running threads of both kinds.
    Both,
    /// The I/O thread.
    Io,
    /// vCPU threads.
    Vcpu,
    /// Only the building of the machine.
    Build,
}

impl Who {
    /// Whether a filter for `self` allows a row for `row`.
    fn allows(self, row: Who) -> bool {
        self == row || row == Who::Both || self == Who::Build
    }
}

/// With which arguments.
#[derive(Clone, Copy)]
enum Args {
    Any,
    /// The second argument is one of these requests.
    Requests(&'static [u64]),
    /// The third argument doesn't contain PROT_EXEC.
    NotExecutable,
    /// The first argument asks for a thread, not a process.
    Thread,
}

const F_GETFD: u64 = 1;
const KVM_RUN: u64 = 0xae80;
const KVM_SIGNAL_MSI: u64 = 0x4020_aea5;
const KVM_IOEVENTFD: u64 = 0x4040_ae79;

/// Running, sending a device's interrupt, placing doorbells, telling a TAP what a guest can do.
const VCPU_REQUESTS: &[u64] = &[KVM_RUN, KVM_SIGNAL_MSI, KVM_IOEVENTFD, TUNSETOFFLOAD];

/// Call, threads, arguments; what for.
#[rustfmt::skip] // keeps the columns
const TABLE: &[(i64, Who, Args)] = &[
    (libc::SYS_ioctl,           Who::Vcpu, Args::Requests(VCPU_REQUESTS)),
    (libc::SYS_ioctl,           Who::Io,   Args::Requests(&[KVM_SIGNAL_MSI])), // device interrupts
    (libc::SYS_write,           Who::Both, Args::Any), // eventfds, frames; a panic's text
    (libc::SYS_futex,           Who::Both, Args::Any), // locks
    (libc::SYS_timerfd_settime, Who::Both, Args::Any), // a burst of console output begins
    (libc::SYS_read,            Who::Io,   Args::Any), // eventfds, timer, frames
    (libc::SYS_recvfrom,        Who::Io,   Args::Any), // console input
    (libc::SYS_sendto,          Who::Io,   Args::Any), // console output, events
    (libc::SYS_recvmsg,         Who::Io,   Args::Any), // requests
    (libc::SYS_epoll_wait,      Who::Io,   Args::Any), // sleep
    (libc::SYS_epoll_pwait,     Who::Io,   Args::Any), // sleep
    (libc::SYS_epoll_ctl,       Who::Io,   Args::Any), // interest in the console socket
    (libc::SYS_poll,            Who::Io,   Args::Any), // the guest's last words
    (libc::SYS_ppoll,           Who::Io,   Args::Any), // the guest's last words
    (libc::SYS_pread64,         Who::Io,   Args::Any), // disks
    (libc::SYS_pwrite64,        Who::Io,   Args::Any), // disks
    (libc::SYS_fdatasync,       Who::Io,   Args::Any), // disks: flush
    (libc::SYS_getrandom,       Who::Io,   Args::Any), // the entropy device
    (libc::SYS_fcntl,           Who::Io,   Args::Requests(&[F_GETFD])), // debug builds check at close
    (libc::SYS_close,           Who::Io,   Args::Any), // at the end
    (libc::SYS_clock_gettime,   Who::Both, Args::Any), // where the vDSO has no clock source
    (libc::SYS_brk,             Who::Both, Args::Any), // heap
    (libc::SYS_mmap,            Who::Both, Args::NotExecutable), // heap
    (libc::SYS_mprotect,        Who::Both, Args::NotExecutable), // heap
    (libc::SYS_mremap,          Who::Both, Args::Any), // heap
    (libc::SYS_munmap,          Who::Both, Args::Any), // heap
    (libc::SYS_madvise,         Who::Both, Args::Any), // heap
    (libc::SYS_restart_syscall, Who::Both, Args::Any), // after a stop signal
    (libc::SYS_rt_sigreturn,    Who::Both, Args::Any), // the end of a signal handler
    (libc::SYS_rt_sigprocmask,  Who::Both, Args::Any), // abort
    (libc::SYS_rt_sigaction,    Who::Both, Args::Any), // abort
    (libc::SYS_sigaltstack,     Who::Both, Args::Any), // the end of a thread
    (libc::SYS_gettid,          Who::Both, Args::Any), // abort
    (libc::SYS_getpid,          Who::Both, Args::Any), // abort
    (libc::SYS_tgkill,          Who::Both, Args::Any), // abort; other processes have another user
    (libc::SYS_sched_yield,     Who::Both, Args::Any), // contended locks
    (libc::SYS_exit,            Who::Both, Args::Any), // the end
    (libc::SYS_exit_group,      Who::Both, Args::Any), // the end
    (libc::SYS_ioctl,           Who::Build, Args::Any), // creating the machine in KVM
    (libc::SYS_fcntl,           Who::Build, Args::Any), // copies of descriptors
    (libc::SYS_lseek,           Who::Build, Args::Any), // size of a disk
    (libc::SYS_statx,           Who::Build, Args::Any), // size of kernel and initrd
    (libc::SYS_fstat,           Who::Build, Args::Any), // the same, on older kernels
    (libc::SYS_newfstatat,      Who::Build, Args::Any), // the same; the root is empty
    (libc::SYS_eventfd2,        Who::Build, Args::Any), // doorbells, interrupts
    (libc::SYS_timerfd_create,  Who::Build, Args::Any), // console bursts
    (libc::SYS_epoll_create1,   Who::Build, Args::Any), // the I/O thread's sleep
    (libc::SYS_clone3,          Who::Build, Args::Any), // answered with ENOSYS, see `hide_clone3`
    (libc::SYS_clone,           Who::Build, Args::Thread), // threads
    (libc::SYS_set_robust_list, Who::Build, Args::Any), // a thread begins
    (libc::SYS_rseq,            Who::Build, Args::Any), // a thread begins
    (libc::SYS_sched_getaffinity, Who::Build, Args::Any), // a thread begins: its stack's size
    (libc::SYS_prctl,           Who::Build, Args::Any), // a thread's name; installing filters
    (libc::SYS_seccomp,         Who::Build, Args::Any), // installing filters
];

/// Why a filter isn't in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("Compiling the system-call filter")]
    Compile { source: seccompiler::BackendError },
    #[error("Installing the system-call filter (does the host's kernel have seccomp?)")]
    Install { source: seccompiler::Error },
}

/// For the whole process, which has one thread now: nothing but building a machine from here on.
pub(super) fn filter_build() -> Result<(), FilterError> {
    hide_clone3()?;
    install(Who::Build)
}

/// A filter can't see what clone3 is asked for, so the C library is told that it doesn't exist
/// and uses clone, whose flags a filter sees.
fn hide_clone3() -> Result<(), FilterError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, TargetArch::x86_64);
    apply(filter.and_then(BpfProgram::try_from))
}

/// For the calling thread, a vCPU's.
pub(crate) fn filter_vcpu_thread() -> Result<(), FilterError> {
    install(Who::Vcpu)
}

/// For the calling thread, the I/O loop's.
pub(crate) fn filter_io_thread() -> Result<(), FilterError> {
    install(Who::Io)
}

fn install(who: Who) -> Result<(), FilterError> {
    apply(compile(who))
}

fn apply(program: Result<BpfProgram, seccompiler::BackendError>) -> Result<(), FilterError> {
    let program = program.map_err(|source| FilterError::Compile { source })?;
    seccompiler::apply_filter(&program).map_err(|source| FilterError::Install { source })
}

fn compile(who: Who) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let rows = TABLE.iter().filter(|(_, row, _)| who.allows(*row));
    for (call, _, args) in rows {
        let added = conditions(*args)?;
        match rules.entry(*call) {
            Entry::Vacant(vacant) => {
                vacant.insert(added);
            }
            // An empty list means "any arguments", and it wins.
            Entry::Occupied(mut known) if added.is_empty() || known.get().is_empty() => {
                known.get_mut().clear();
            }
            Entry::Occupied(mut known) => known.get_mut().extend(added),
        }
    }
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?
    .try_into()
}

fn conditions(args: Args) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let one = |index, operator, value| {
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?;
        SeccompRule::new(vec![condition])
    };
    match args {
        Args::Any => Ok(Vec::new()),
        Args::Requests(requests) => requests
            .iter()
            .map(|request| one(1, SeccompCmpOp::Eq, *request))
            .collect(),
        Args::Thread => {
            let thread = libc::CLONE_THREAD as u64;
            Ok(vec![one(0, SeccompCmpOp::MaskedEq(thread), thread)?])
        }
        Args::NotExecutable => Ok(vec![one(
            2,
            SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64),
            0,
        )?]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Who, compile, filter_build, filter_io_thread, filter_vcpu_thread};

    /// Runs `act` in a process of its own under a filter. Returns how the process ended.
    fn under_filter(install: fn() -> Result<(), super::FilterError>, act: fn()) -> i32 {
        // SAFETY: fork(2) in a process with threads wants the child to do nothing but simple
        // system calls, because other threads' locks stay taken.
        // - The child allocates while it compiles the filter; the allocator of glibc handles fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let installed = rustix::thread::set_no_new_privs(true).is_ok() && install().is_ok();
            if installed {
                act();
            }
            // SAFETY: _exit(2) takes a number and runs no handlers.
            unsafe { libc::_exit(if installed { 0 } else { 99 }) };
        }
        let mut status = 0;
        // SAFETY: waitpid(2) wants a valid pointer for the status.
        // - `status` lives across the call.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        status
    }

    #[test]
    fn a_forbidden_call_kills_the_process_and_an_allowed_one_does_not() {
        let open = || {
            let _ = std::fs::File::open("/");
        };
        let execute = || {
            let _ = std::process::Command::new("/bin/true").spawn();
        };
        let socket = || {
            let _ = std::net::UdpSocket::bind("127.0.0.1:0");
        };
        let nothing = || {};
        for install in [filter_build, filter_io_thread, filter_vcpu_thread] {
            let exited = under_filter(install, nothing);
            assert!(
                libc::WIFEXITED(exited) && libc::WEXITSTATUS(exited) == 0,
                "{exited:#x}"
            );
            for act in [open, execute, socket] {
                let killed = under_filter(install, act);
                assert!(libc::WIFSIGNALED(killed) && libc::WTERMSIG(killed) == libc::SIGSYS);
            }
        }
    }

    #[test]
    fn all_filters_fit_the_kernels_limit() {
        for who in [Who::Build, Who::Io, Who::Vcpu] {
            let program = compile(who).unwrap();
            assert!(program.len() < 4096, "{} instructions", program.len());
        }
    }
}
