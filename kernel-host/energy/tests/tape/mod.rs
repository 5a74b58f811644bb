//! A tape: what stood in small files at one time after another, played to a meter.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its part

use energy::meter::bank::{Meter, Step};
use energy::meter::{Answer, Fault, FileFault, Files, MS, Reading, SECOND, Source, Uptime};
use energy::meter::{Value, Wish, Zone};
use protocol::Microjoules;
use std::collections::BTreeMap;

/// A tree of small files that can be changed, and a meter that reads them.
pub struct Tape {
    pub files: BTreeMap<String, Result<String, FileFault>>,
    pub meter: Meter,
    pub now: Uptime,
    /// Energy that each zone's counter told, and the time that it told gaps for.
    pub spent: BTreeMap<Zone, u64>,
    pub gaps: BTreeMap<Zone, u64>,
    pub readings: Vec<Reading>,
    wished: Vec<String>,
}

impl Tape {
    pub fn new(source: impl Source + Send + 'static) -> Self {
        Self {
            files: BTreeMap::new(),
            meter: Meter::new(Box::new(source)),
            now: Uptime(SECOND),
            spent: BTreeMap::new(),
            gaps: BTreeMap::new(),
            readings: Vec::new(),
            wished: Vec::new(),
        }
    }

    pub fn put(&mut self, path: &str, text: impl ToString) {
        self.files.insert(path.to_owned(), Ok(text.to_string()));
    }

    pub fn lose(&mut self, path: &str, fault: FileFault) {
        self.files.insert(path.to_owned(), Err(fault));
    }

    /// Lets time pass and plays whatever is due.
    pub fn pass(&mut self, nanoseconds: u64) {
        self.now = self.now.after(nanoseconds);
        self.play();
    }

    pub fn seconds(&mut self, count: u64) {
        for _ in 0..count {
            self.pass(SECOND);
        }
    }

    /// One round if it is due.
    pub fn play(&mut self) {
        let now = self.now;
        let Some(mut wish) = self.meter.poll(now) else {
            return;
        };
        loop {
            let files = self.fulfil(&wish);
            match self.meter.answered(now.after(MS), Answer::Files(&files)) {
                Step::Fetch(next) => wish = next,
                Step::ReadOn => panic!("files are whole"),
                Step::Over => break,
            }
        }
        self.readings = self.meter.readings().to_vec();
        for reading in &self.readings {
            match reading.value {
                Value::Counter {
                    spent: Microjoules(spent),
                    ..
                } => {
                    *self.spent.entry(reading.zone).or_default() += spent;
                }
                Value::Gap { over_ns } => *self.gaps.entry(reading.zone).or_default() += over_ns,
                _ => {}
            }
        }
    }

    fn fulfil(&mut self, wish: &Wish) -> Files {
        let wanted = match wish {
            Wish::Folders { path, files } => {
                let below = |known: &&String| {
                    let rest = known
                        .strip_prefix(path.as_str())
                        .and_then(|r| r.strip_prefix('/'));
                    rest.and_then(|rest| rest.split_once('/'))
                        .is_some_and(|(_, file)| files.iter().any(|wanted| wanted == file))
                };
                self.files.keys().filter(below).cloned().collect()
            }
            Wish::Files(paths) => {
                self.wished.clone_from(paths);
                paths.clone()
            }
            Wish::SameFiles => self.wished.clone(),
            other => panic!("no wish of a tree: {other:?}"),
        };
        let mut files = Files::default();
        for path in wanted {
            let found = self
                .files
                .get(&path)
                .cloned()
                .unwrap_or(Err(FileFault::Absent));
            match found {
                Ok(text) => files.put(&path, Ok(text.as_bytes())),
                Err(fault) => files.put(&path, Err(fault)),
            }
        }
        files
    }

    pub fn value(&self, zone: Zone) -> Option<Value> {
        self.readings
            .iter()
            .find(|reading| reading.zone == zone)
            .map(|reading| reading.value)
    }

    pub fn zones(&self) -> Vec<Zone> {
        self.readings.iter().map(|reading| reading.zone).collect()
    }

    pub fn fault(&self) -> Option<&Fault> {
        self.meter.fault()
    }
}

/// A zone of a powercap tree.
pub fn zone(tape: &mut Tape, folder: &str, name: &str, range: u64, value: u64) {
    let root = format!("/sys/class/powercap/{folder}");
    tape.put(&format!("{root}/name"), format!("{name}\n"));
    tape.put(&format!("{root}/max_energy_range_uj"), format!("{range}\n"));
    tape.put(&format!("{root}/energy_uj"), format!("{value}\n"));
}

pub fn energy(tape: &mut Tape, folder: &str, value: u64) {
    tape.put(
        &format!("/sys/class/powercap/{folder}/energy_uj"),
        format!("{value}\n"),
    );
}
