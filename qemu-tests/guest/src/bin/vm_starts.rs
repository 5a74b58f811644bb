//! Measures how fast VMs start, as `/init` of a machine that has KVM and nothing else.
//!
//! Does:      loads KVM, starts each runner of `/runners` in turn, several rounds, and prints how
//!            long the guest's first byte, its first line and its token took.
//! Does not:  compare or judge; the rig does, with both runners' numbers from one run.
//! Bounds:    `START_MAX` a start; `OUTPUT_MAX` bytes read of one guest.
//! Trusts:    the rig, which packed the machine.
//! Start at:  `main`.

#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use guest::linux::{self, say};

/// A nested start takes 1 to 4 s; thirty times that is a failure.
const START_MAX: Duration = Duration::from_secs(120);
/// A guest's boot prints a few kB.
const OUTPUT_MAX: usize = 1024 * 1024;
/// Begins each line of results.
const RESULT: &str = "LUC-BENCH ";

fn main() {
    if let Err(problem) = measure() {
        println!("{RESULT}failed: {problem}");
    }
    let _ = linux::power_off();
    loop {
        std::thread::park();
    }
}

fn measure() -> Result<(), String> {
    linux::mount_all()?;
    for name in linux::read_text("/lib/modules.order")?.lines() {
        // Intel's module refuses an AMD processor and the other way round.
        if let Err(problem) = linux::load_module(name) {
            say(&problem);
        }
    }
    let cmdline = linux::read_text("/proc/cmdline")?;
    let rounds = guest::argument(&cmdline, "bench.rounds").and_then(|text| text.parse().ok());
    let runners = linux::read_text("/runners")?;
    for round in 0..rounds.unwrap_or(1_u32) {
        for line in runners.lines() {
            let words: Vec<&str> = line.split('\t').collect();
            let [name, program, arguments @ ..] = &words[..] else {
                continue;
            };
            let start = start(program, arguments)?;
            println!("{RESULT}{name} {round} {}", start.text());
        }
    }
    println!("{RESULT}done");
    Ok(())
}

/// When a guest said what, since its runner was started.
struct Start {
    first_byte: Duration,
    init: Duration,
    token: Duration,
    /// Resident memory of the runner when the token came, guest memory that was touched included.
    resident_kib: u64,
}

impl Start {
    fn text(&self) -> String {
        let ms = |at: Duration| at.as_micros() as f64 / 1000.0;
        format!(
            "first_byte_ms={:.1} init_ms={:.1} token_ms={:.1} resident_kib={}",
            ms(self.first_byte),
            ms(self.init),
            ms(self.token),
            self.resident_kib
        )
    }
}

fn start(program: &str, arguments: &[&str]) -> Result<Start, String> {
    let text = |source: io::Error| format!("{program}: {source}");
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(text)?;
    let seen = watch(&mut child, begun);
    let resident_kib = resident_of_all();
    let _ = child.kill();
    let _ = child.wait();
    let (first_byte, init, token) = seen?;
    Ok(Start {
        first_byte,
        init,
        token,
        resident_kib,
    })
}

/// Reads the guest's console until its token.
fn watch(child: &mut Child, begun: Instant) -> Result<(Duration, Duration, Duration), String> {
    let mut console = child.stdout.take().ok_or("no console")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count) = console.read(&mut bytes) {
            if sender
                .send((begun.elapsed(), bytes[..count].to_vec()))
                .is_err()
                || count == 0
            {
                return;
            }
        }
    });
    let mut output = Vec::new();
    let (mut first_byte, mut init) = (None, None);
    while output.len() < OUTPUT_MAX {
        let left = START_MAX.saturating_sub(begun.elapsed());
        let (at, bytes) = receiver.recv_timeout(left).map_err(|_| ended(&output))?;
        if bytes.is_empty() {
            return Err(ended(&output));
        }
        output.extend_from_slice(&bytes);
        first_byte = first_byte.or(Some(at));
        let text = String::from_utf8_lossy(&output);
        if text.contains(guest::GUEST_LINE) {
            init = init.or(Some(at));
        }
        if text.contains(guest::TOKEN_LINE) {
            return Ok((first_byte.unwrap_or(at), init.unwrap_or(at), at));
        }
    }
    Err(ended(&output))
}

fn ended(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    format!("the guest printed no token; its last lines, newest first: {last:?}")
}

/// Resident memory of all processes but this one: a runner may be several.
fn resident_of_all() -> u64 {
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let numbers = folder
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = numbers.filter(|number: &u32| *number != std::process::id());
    others
        .filter_map(|number| {
            let status = linux::read_text(&format!("/proc/{number}/status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}
