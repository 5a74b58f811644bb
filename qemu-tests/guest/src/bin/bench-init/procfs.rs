//! What the kernel knows about processes: their times, their children, their memory.
//!
//! Does:      reads `/proc`; ends what a run has left behind.
//! Does not:  keep anything.
//! Bounds:    as many processes as there are; a bench machine has a handful.
//! Trusts:    the kernel.
//! Start at:  `Spent`, `end_all_others`.

use std::fs;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, wait, waitid,
};

/// Milliseconds of one of the kernel's ticks in `/proc/PID/stat` (100 Hz on all of x86).
const TICK_MS: u64 = 10;
/// Times that the leftovers are looked for; each look ends a generation of processes.
const SWEEPS_MAX: usize = 20;

/// Processor time of a program and its ended children.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// In programs, and in the guest.
    pub user_ms: u64,
    /// In the kernel.
    pub system_ms: u64,
    /// In the guest alone.
    pub guest_ms: u64,
}

/// Waits until a child has ended, and reads its times before it is reaped.
pub fn wait_and_look(child: u32) -> Result<Spent, String> {
    let id = pid(child).ok_or("no such process")?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(id), options).map_err(|source| format!("waiting: {source}"))?;
    let stat = stat_fields(child).ok_or("/proc has no times of it")?;
    // Numbers as in proc(5), which counts from 1 and has the name as the second.
    let ticks = |field: usize| stat.get(field - 3).copied().unwrap_or(0) * TICK_MS;
    Ok(Spent {
        user_ms: ticks(14) + ticks(16),
        system_ms: ticks(15) + ticks(17),
        guest_ms: ticks(43) + ticks(44),
    })
}

/// The process and all its descendants.
pub fn family(ancestor: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all()
        .into_iter()
        .filter_map(|id| Some((id, parent(id)?)))
        .collect();
    let mut family = vec![ancestor];
    let mut at = 0;
    while let Some(member) = family.get(at).copied() {
        family.extend(
            parents
                .iter()
                .filter(|(_, p)| *p == member)
                .map(|(id, _)| *id),
        );
        at += 1;
    }
    family
}

/// Ends and reaps everything but us and the kernel's own threads.
pub fn end_all_others() -> Result<(), String> {
    for _ in 0..SWEEPS_MAX {
        let left: Vec<u32> = all()
            .into_iter()
            .filter(|id| *id != 1 && has_memory(*id))
            .collect();
        for id in left.iter().filter_map(|id| pid(*id)) {
            let _ = kill_process(id, Signal::KILL);
        }
        loop {
            let options = if left.is_empty() {
                WaitOptions::NOHANG
            } else {
                WaitOptions::empty()
            };
            match wait(options) {
                Ok(Some(_)) if left.is_empty() => {}
                Ok(Some(_)) | Ok(None) | Err(Errno::CHILD) => break,
                Err(source) => return Err(format!("reaping: {source}")),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
    }
    Err(format!(
        "processes are left after {SWEEPS_MAX} attempts to end them"
    ))
}

fn all() -> Vec<u32> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    folders
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Neither a thread of the kernel nor a process that has ended.
fn has_memory(id: u32) -> bool {
    fs::read_to_string(format!("/proc/{id}/status")).is_ok_and(|text| text.contains("VmSize:"))
}

fn parent(id: u32) -> Option<u32> {
    u32::try_from(*stat_fields(id)?.get(1)?).ok()
}

/// The numbers of `/proc/PID/stat` from the third on; what is no number counts as 0.
fn stat_fields(id: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold spaces and brackets, so the last bracket counts.
    let (_, rest) = text.rsplit_once(')')?;
    Some(
        rest.split_ascii_whitespace()
            .map(|word| word.parse().unwrap_or(0))
            .collect(),
    )
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}
