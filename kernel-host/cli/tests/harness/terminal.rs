//! A pseudo terminal with a person's hands and eyes on its other end.
#![allow(clippy::unwrap_used, dead_code)]

use super::words;
use cli::Streams;
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Termios, tcgetattr},
};
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    sync::mpsc::{Receiver, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub struct Terminal {
    hands: File,
    eyes: Receiver<Vec<u8>>,
    seen: String,
    pub slave: OwnedFd,
    before: Termios,
}

impl Terminal {
    pub fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let (send, eyes) = channel();
        let mut reader = File::from(master.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count) = reader.read(&mut piece) {
                if count == 0 || send.send(piece[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let before = tcgetattr(&slave).unwrap();
        Self {
            hands: File::from(master),
            eyes,
            seen: String::new(),
            slave,
            before,
        }
    }

    pub fn streams(&self) -> Streams {
        let write = || Box::new(File::from(self.slave.try_clone().unwrap()));
        Streams {
            input: Some(self.slave.try_clone().unwrap()),
            output: write(),
            errors: write(),
            input_is_terminal: true,
            output_is_terminal: true,
            errors_is_terminal: true,
            colour: false,
        }
    }

    /// `luc <line>` on this terminal.
    pub fn luc(&self, line: &str) -> JoinHandle<u8> {
        let mut streams = self.streams();
        let words = words(line);
        std::thread::spawn(move || cli::run_on(words, &mut streams))
    }

    pub fn types(&mut self, text: &str) {
        self.hands.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until a text is on the screen.
    pub fn sees(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.eyes.recv_timeout(left) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => panic!("never saw {text:?}, only: {}", self.seen),
            }
        }
    }

    pub fn seen(&self) -> &str {
        &self.seen
    }

    pub fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }

    pub fn waits_until_raw(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.is_raw() {
            assert!(Instant::now() < end, "the terminal never became raw");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the terminal is as it was at first.
    pub fn is_restored(&self) -> bool {
        let now = tcgetattr(&self.slave).unwrap();
        now.local_modes == self.before.local_modes
            && now.input_modes == self.before.input_modes
            && now.output_modes == self.before.output_modes
    }
}
