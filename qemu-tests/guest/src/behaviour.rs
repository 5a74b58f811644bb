//! What a guest does after its token.
//!
//! Does:      one behaviour a guest, named by `luc.guest=`.
//! Does not:  mix behaviours; the rig starts another guest instead.
//! Bounds:    `INPUTS_MAX` input devices, `LINE_MAX` bytes of a typed line.
//! Trusts:    what is typed is any bytes at all.
//! Start at:  `Behaviour::run`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use guest::linux::{self, say};

/// Input devices watched for a power button; QEMU and our machine have at most two.
const INPUTS_MAX: usize = 8;
/// A typed line is cut here: 4 KiB is what a terminal line can hold.
const LINE_MAX: usize = 4096;
/// Bytes of the kernel's `struct input_event` on 64 bits.
const INPUT_EVENT_SIZE: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;
/// The `disk` guest writes and reads back this many blocks of `DISK_BLOCK` bytes.
const DISK_BLOCKS: u64 = 64;
const DISK_BLOCK: usize = 4096;
/// A reset is not done at once, so that the token is seen before.
const RESET_PAUSE: Duration = Duration::from_millis(300);

/// The behaviours, by the name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Waits for the power button.
    Token,
    /// The same with nothing loaded: not even the power button works.
    Idle,
    /// Switches itself off.
    Shutdown,
    /// Restarts; with `reboot=t` by a triple fault.
    Reset,
    /// Writes to the console without end.
    Flood,
    /// Answers each typed line with its token.
    Echo,
    /// Writes, flushes and verifies its disk.
    Disk,
    /// Tells whether the processor offers virtualisation, then switches off.
    Probe,
}

impl Behaviour {
    pub fn from_name(name: &str) -> Result<Self, String> {
        Ok(match name {
            "token" => Self::Token,
            "idle" => Self::Idle,
            "shutdown" => Self::Shutdown,
            // The difference is the kernel argument `reboot=t`, which the rig adds.
            "reset" | "triplefault" => Self::Reset,
            "flood" => Self::Flood,
            "echo" => Self::Echo,
            "disk" => Self::Disk,
            "probe" => Self::Probe,
            other => return Err(format!("luc.guest={other} is no behaviour")),
        })
    }

    pub fn run(self) -> Result<(), String> {
        match self {
            Self::Token => serve(false),
            Self::Echo => serve(true),
            Self::Idle => Ok(()),
            Self::Shutdown => linux::power_off(),
            Self::Reset => {
                std::thread::sleep(RESET_PAUSE);
                linux::restart()
            }
            Self::Flood => flood(),
            Self::Disk => {
                check_disk()?;
                serve(false)
            }
            Self::Probe => {
                let found = linux::has_virtualisation()?;
                println!("LUC-PROBE virtualisation={found}");
                linux::power_off()
            }
        }
    }
}

/// Waits for the power button, and for typed lines when `echo` is set.
fn serve(echo: bool) -> Result<(), String> {
    let mut buttons = open_buttons()?;
    say(&format!("listening to {} input devices", buttons.len()));
    let mut line = Vec::new();
    loop {
        let stdin = io::stdin();
        let mut fds: Vec<PollFd<'_>> = buttons
            .iter()
            .map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN))
            .collect();
        if echo {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        poll(&mut fds, None).map_err(|source| format!("waiting for input: {source}"))?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (button, is_ready) in buttons.iter_mut().zip(&ready) {
            if *is_ready && power_pressed(button)? {
                println!("{}", guest::BUTTON_LINE);
                return linux::power_off();
            }
        }
        if echo && ready.last() == Some(&true) {
            answer_typing(&mut line)?;
        }
    }
}

fn open_buttons() -> Result<Vec<File>, String> {
    linux::load_module("evdev")?;
    linux::load_module("button")?;
    let Ok(folder) = fs::read_dir("/dev/input") else {
        return Ok(Vec::new()); // a machine without any input device has no such folder
    };
    let mut files = Vec::new();
    for entry in folder
        .flatten()
        .filter(|e| e.file_name().as_encoded_bytes().starts_with(b"event"))
    {
        if files.len() == INPUTS_MAX {
            say("more input devices than expected; the rest is ignored");
            break;
        }
        files.push(
            File::open(entry.path()).map_err(|source| format!("{:?}: {source}", entry.path()))?,
        );
    }
    Ok(files)
}

fn power_pressed(button: &mut File) -> Result<bool, String> {
    let mut event = [0_u8; INPUT_EVENT_SIZE];
    button
        .read_exact(&mut event)
        .map_err(|source| format!("reading a button: {source}"))?;
    let kind = u16::from_le_bytes([event[16], event[17]]);
    let code = u16::from_le_bytes([event[18], event[19]]);
    let value = i32::from_le_bytes([event[20], event[21], event[22], event[23]]);
    Ok(kind == EV_KEY && code == KEY_POWER && value == 1)
}

fn answer_typing(line: &mut Vec<u8>) -> Result<(), String> {
    let mut bytes = [0_u8; 256];
    let count = io::stdin()
        .lock()
        .read(&mut bytes)
        .map_err(|source| format!("stdin: {source}"))?;
    for byte in &bytes[..count] {
        if !matches!(byte, b'\n' | b'\r') {
            if line.len() < LINE_MAX {
                line.push(*byte);
            }
            continue;
        }
        if !line.is_empty() {
            let typed = String::from_utf8_lossy(line).into_owned();
            println!(
                "{}{}",
                guest::ECHO_LINE,
                guest::token(&typed, &linux::kernel_release())
            );
            line.clear();
        }
    }
    Ok(())
}

fn flood() -> Result<(), String> {
    let mut out = io::stdout().lock();
    for number in 0_u64.. {
        let filler = "0123456789abcdef0123456789abcdef0123456789abcdef";
        writeln!(out, "{}{number} {filler}", guest::FLOOD_LINE)
            .map_err(|source| format!("flooding: {source}"))?;
    }
    Ok(())
}

/// Fills blocks with numbers, flushes, drops the cache and reads them back.
fn check_disk() -> Result<(), String> {
    linux::load_module("virtio_blk")?;
    let path = "/dev/vda";
    let text = |what: &str, source: io::Error| format!("{what} {path}: {source}");
    let mut disk = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| text("opening", source))?;
    for block in 0..DISK_BLOCKS {
        disk.write_all(&pattern(block))
            .map_err(|source| text("writing", source))?;
    }
    disk.sync_all().map_err(|source| text("flushing", source))?;
    fs::write("/proc/sys/vm/drop_caches", "3")
        .map_err(|source| text("dropping caches of", source))?;
    disk.seek(SeekFrom::Start(0))
        .map_err(|source| text("seeking", source))?;
    let mut read = vec![0_u8; DISK_BLOCK];
    for block in 0..DISK_BLOCKS {
        disk.read_exact(&mut read)
            .map_err(|source| text("reading", source))?;
        if read != pattern(block) {
            return Err(format!("{path}: block {block} came back different"));
        }
    }
    println!(
        "{}ok {} bytes",
        guest::DISK_LINE,
        DISK_BLOCKS * DISK_BLOCK as u64
    );
    Ok(())
}

fn pattern(block: u64) -> Vec<u8> {
    (0..DISK_BLOCK as u64 / 8)
        .flat_map(|word| (block << 32 | word).to_le_bytes())
        .collect()
}
