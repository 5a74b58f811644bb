//! Power sensors of the board, as Linux shows them below `/sys/class/hwmon`.
//!
//! Does:      finds ACPI power meters and power supplies by their chips' names; reads each by its
//!            interval: an average where there is one, else the moment.
//! Does not:  take sensors of parts (graphics cards, drives) for the machine's own power.
//! Bounds:    `CHANNELS_MAX` sensors of `CHIPS`.
//! Trusts:    nobody: values of all ones are no values.
//! Start at:  `Hwmon::take`.

use super::{Answer, Class, Fault, Files, Reading, Readings, Rhythm, Round, SECOND, Source};
use super::{MS, Uptime, Value, Wish, Zone};
use protocol::Microwatts;

/// Power supplies of one machine, and the ACPI meter.
const CHANNELS_MAX: usize = 8;
const LOOK_AGAIN_NS: u64 = 300 * SECOND;
const ROOT: &str = "/sys/class/hwmon";
const FILES: [&str; 4] = [
    "name",
    "power1_average",
    "power1_average_interval",
    "power1_input",
];

/// Chips that see all of the machine. A power supply's input (`pin`) is what the wall gives.
#[rustfmt::skip] // keeps the columns
const CHIPS: [(&str, Side); 4] = [
    ("power_meter",  Side::Board), // ACPI
    ("acpi_power",   Side::Board),
    ("pmbus",        Side::Supply),
    ("dps",          Side::Supply), // supplies by their makers' drivers: dps460, dps800, ...
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Board,
    Supply,
}

#[derive(Debug)]
struct Channel {
    zone: Zone,
    path: String,
    window_ns: Option<u64>,
}

/// The driver.
#[derive(Debug, Default)]
pub struct Hwmon {
    channels: Vec<Channel>,
    looked: Option<Uptime>,
    listed: bool,
    wish_is_tree: bool,
}

impl Hwmon {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn look_at_tree(&mut self, now: Uptime, files: &Files) -> Result<(), Fault> {
        self.channels.clear();
        let (mut boards, mut supplies) = (0, 0);
        for folder in files.paths().filter_map(|path| path.strip_suffix("/name")) {
            if self.channels.len() >= CHANNELS_MAX {
                break;
            }
            let Ok(name) = files.text(&format!("{folder}/name")) else {
                continue;
            };
            let Some((_, side)) = CHIPS.iter().find(|(chip, _)| name.starts_with(chip)) else {
                continue;
            };
            let number = |file: &str| files.number(&format!("{folder}/{file}")).ok();
            let average = number("power1_average").map(|_| "power1_average");
            let moment = || number("power1_input").map(|_| "power1_input");
            let Some(file) = average.or_else(moment) else {
                continue;
            };
            let interval_ms = number("power1_average_interval").unwrap_or(1000);
            let (zone, count) = match side {
                Side::Board => (Zone::Board(boards), &mut boards),
                Side::Supply => (Zone::Wall(supplies), &mut supplies),
            };
            *count += 1;
            self.channels.push(Channel {
                zone,
                path: format!("{folder}/{file}"),
                window_ns: average.map(|_| interval_ms.saturating_mul(MS)),
            });
        }
        if self.channels.is_empty() {
            let what = format!("a power meter below {ROOT}");
            return Err(Fault::Absent { what });
        }
        self.looked = Some(now);
        self.listed = false;
        Ok(())
    }
}

/// A sensor's value; all ones of 31 or 32 bits, in micro- or milliwatts, mean that there is none.
fn power(files: &Files, path: &str) -> Result<Microwatts, Fault> {
    const NONE: [u64; 4] = [
        u32::MAX as u64,
        i32::MAX as u64,
        u32::MAX as u64 * 1000,
        i32::MAX as u64 * 1000,
    ];
    let value = files.number(path)?;
    if NONE.iter().any(|none| value.abs_diff(*none) < 1000) {
        return Err(Fault::nonsense(
            path,
            "the sensor says that it has no value",
        ));
    }
    Ok(Microwatts(value))
}

impl Source for Hwmon {
    fn name(&self) -> &str {
        "hwmon"
    }

    fn rhythm(&self) -> Rhythm {
        Rhythm {
            // The kernel asks the firmware for each read: no oftener than its own average.
            period_ns: 5 * SECOND,
            deadline_ns: 3 * SECOND,
            most: Microwatts::from_watts(10_000),
        }
    }

    fn begin(&mut self) {}

    fn wish(&mut self) -> Result<Wish, Fault> {
        self.wish_is_tree = self.looked.is_none();
        if self.wish_is_tree {
            return Ok(Wish::Folders {
                path: ROOT.to_owned(),
                files: FILES.map(str::to_owned).to_vec(),
            });
        }
        if self.listed {
            return Ok(Wish::SameFiles);
        }
        self.listed = true;
        Ok(Wish::Files(
            self.channels.iter().map(|one| one.path.clone()).collect(),
        ))
    }

    fn take(
        &mut self,
        now: Uptime,
        answer: Answer<'_>,
        out: &mut Readings,
    ) -> Result<Round, Fault> {
        let Answer::Files(files) = answer else {
            return Err(Fault::nonsense("hwmon", "an answer that is no files"));
        };
        if self.wish_is_tree {
            self.look_at_tree(now, files)?;
        }
        for channel in &self.channels {
            // One supply without a word makes the sum wrong: then there is no sum.
            let power = power(files, &channel.path).inspect_err(|_| self.looked = None)?;
            let class = match channel.zone {
                Zone::Wall(_) => Class::Wall,
                _ => Class::Board,
            };
            let value = match channel.window_ns {
                Some(window_ns) => Value::Average { power, window_ns },
                None => Value::Gauge(power),
            };
            out.push(Reading::new(channel.zone, class, value));
        }
        if self.looked.is_some_and(|at| now.since(at) >= LOOK_AGAIN_NS) {
            self.looked = None;
        }
        Ok(Round::Done)
    }
}
