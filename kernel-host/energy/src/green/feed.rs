//! Feeds of a site, read from CSV: what is not plausible is refused and counted.
//!
//! Does:      reads `end,UNIT` rows into a series; knows what each kind can't be (more than the
//!            nameplate, sun at night, a grid without carbon, a value that stands still).
//! Does not:  fetch; join feeds; say how long silence may last (`forecast` does).
//! Bounds:    `TEXT_BYTES_MAX` and `ROWS_MAX` a document; what goes beyond is refused whole.
//! Trusts:    nobody.
//! Start at:  `Feed::read_csv`.

use super::{
    SLOT_S, Utc,
    series::{NotAdded, SPAN_S_MAX, Series},
    sun::Location,
    utc::BadStamp,
};

/// A day of minutes in generous rows fits five times.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Rows of a document: two weeks of minutes.
pub const ROWS_MAX: usize = 20_160;
/// How far ahead of ours a feed's clock may be.
const AHEAD_S_MAX: i64 = 900;
/// A producer whose value has not moved at all for this long does not measure any more.
const STUCK_S: i64 = 3 * 3600;
/// A feed may show this much more than the nameplate (cold panels, edges of clouds): +20 %.
const OVER_NAMEPLATE_PERMILLE: u64 = 1200;
/// At and above this a constant value is a limit at work (an inverter clips), not a dead feed.
const CLIPPING_PERMILLE: u64 = 900;
/// More than any grid ever had, in mg/kWh.
const CARBON_MAX: u64 = 2_000_000;

/// What a feed tells, and what bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Microwatts from panels of this nameplate. Where they stand tells the nights.
    Solar {
        nameplate_uw: u64,
        place: Option<Location>,
    },
    /// Microwatts from a wind turbine.
    Wind { nameplate_uw: u64 },
    /// How full a battery is, in permille.
    Battery,
    /// The grid's carbon in mg CO2e per kWh; its mean over a year, for when nothing is known.
    Carbon { yearly: u64 },
}

impl Kind {
    /// Unit names in headers, and what one of it is in ours.
    const fn units(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Solar { .. } | Self::Wind { .. } => &[("watts", 1e6), ("kilowatts", 1e9)],
            Self::Battery => &[("percent", 10.0)],
            Self::Carbon { .. } => &[("g_per_kwh", 1e3)],
        }
    }

    /// What the number means, or why it can't be.
    fn checked(self, end: Utc, span_s: i64, value: f64) -> Result<u64, Refused> {
        match self {
            Self::Solar {
                nameplate_uw,
                place,
            } => {
                let power = produced(value, nameplate_uw)?;
                let backs = || (0..=(span_s - 1) / SLOT_S).map(|back| end.plus_s(-back * SLOT_S));
                let is_night = place.is_some_and(|place| !backs().any(|end| place.may_shine(end)));
                Ok(if is_night { 0 } else { power })
            }
            Self::Wind { nameplate_uw } => produced(value, nameplate_uw),
            Self::Battery if (0.0..=1000.0).contains(&value) => Ok(rounded(value)),
            Self::Carbon { .. } if value <= 0.0 => Err(Refused::Missing),
            Self::Carbon { .. } if rounded(value) <= CARBON_MAX => Ok(rounded(value)),
            Self::Battery | Self::Carbon { .. } => Err(Refused::Implausible),
        }
    }

    /// Whether a value that stands still for hours proves that nobody measures.
    fn must_move(self, value: u64) -> bool {
        match self {
            Self::Solar { nameplate_uw, .. } | Self::Wind { nameplate_uw } => {
                value > 0 && value < share(nameplate_uw, CLIPPING_PERMILLE)
            }
            Self::Battery | Self::Carbon { .. } => false,
        }
    }
}

fn share(of: u64, permille: u64) -> u64 {
    u64::try_from(u128::from(of) * u128::from(permille) / 1000).unwrap_or(u64::MAX)
}

/// Inverters draw a little at night and tell it as negative production: up to 5 % is zero.
#[expect(clippy::cast_precision_loss, reason = "a bound, not an amount")]
fn produced(value: f64, nameplate_uw: u64) -> Result<u64, Refused> {
    let nameplate = nameplate_uw as f64;
    let most = share(nameplate_uw, OVER_NAMEPLATE_PERMILLE);
    match value {
        _ if value < -nameplate / 20.0 => Err(Refused::Implausible),
        _ if value <= 0.0 => Ok(0),
        _ if rounded(value) <= most => Ok(rounded(value)),
        _ => Err(Refused::Implausible),
    }
}

/// `as` keeps to the bounds of the type, which is what is wanted here.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates"
)]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

/// Why a row was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// Its stamp has no offset.
    Naive,
    /// Not a stamp and a number.
    Malformed,
    /// It tells of a time that has not come.
    Future,
    /// Not newer than what is known.
    Repeated,
    /// It has no value: empty, `nan`, `null`, or a grid with zero carbon.
    Missing,
    /// A value that can't be.
    Implausible,
    /// The value did not move for hours.
    Stuck,
}

/// All reasons, in the order of `Taken::refused`.
pub const REASONS: [Refused; 7] = [
    Refused::Naive,
    Refused::Malformed,
    Refused::Future,
    Refused::Repeated,
    Refused::Missing,
    Refused::Implausible,
    Refused::Stuck,
];

/// What became of a document's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    pub rows: u32,
    refused: [u32; REASONS.len()],
}

impl Taken {
    #[must_use]
    pub fn refused(&self, why: Refused) -> u32 {
        self.refused[why as usize]
    }

    #[must_use]
    pub fn all_refused(&self) -> u32 {
        self.refused.iter().sum()
    }

    fn count(&mut self, outcome: Result<(), Refused>) {
        match outcome {
            Ok(()) => self.rows += 1,
            Err(why) => self.refused[why as usize] += 1,
        }
    }
}

/// Why a whole document was refused. Nothing of it was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDocument {
    #[error("the document has {bytes} bytes, at most {TEXT_BYTES_MAX} are read: ask for less time")]
    TooLong { bytes: usize },
    #[error("the document has more than {ROWS_MAX} rows: ask for less time")]
    TooManyRows,
    #[error("the first line is `{found}`: it must be `end,{wanted}`")]
    Header { found: String, wanted: String },
}

/// One feed: its series and what was refused.
#[derive(Debug, Clone)]
pub struct Feed {
    kind: Kind,
    /// What a row stands for when the one before it is farther away.
    span_s: i64,
    series: Series,
    /// The value that has not moved, since when, and for how many slots it stands in the series.
    still: Option<(u64, Utc)>,
    /// Rows taken and refused since the start.
    pub total: Taken,
}

impl Feed {
    /// A feed whose rows stand for at most `span_s` seconds each.
    #[must_use]
    pub fn new(kind: Kind, span_s: i64) -> Self {
        Self {
            kind,
            span_s: span_s.clamp(1, SPAN_S_MAX),
            series: Series::default(),
            still: None,
            total: Taken::default(),
        }
    }

    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    #[must_use]
    pub const fn series(&self) -> &Series {
        &self.series
    }

    /// Reads a document. `taken` is told the end of each row that was taken, in order.
    pub fn read_csv(
        &mut self,
        text: &str,
        now: Utc,
        mut taken: impl FnMut(&Self, Utc),
    ) -> Result<Taken, BadDocument> {
        let (unit, rows) = self.opened(text)?;
        let mut sums = Taken::default();
        for row in rows.lines().filter(|row| !row.trim().is_empty()) {
            let outcome = self.read_row(row, unit, now);
            sums.count(outcome.map(|_| ()));
            self.total.count(outcome.map(|_| ()));
            if let Ok(end) = outcome {
                taken(self, end);
            }
        }
        Ok(sums)
    }

    fn opened<'a>(&self, text: &'a str) -> Result<(f64, &'a str), BadDocument> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(BadDocument::TooLong { bytes: text.len() });
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (header, rows) = text.split_once('\n').unwrap_or((text, ""));
        let (stamp, unit) = header.trim().split_once(',').unwrap_or((header.trim(), ""));
        let known = self.kind.units().iter().find(|(name, _)| *name == unit);
        let Some((_, factor)) = known.filter(|_| stamp == "end") else {
            let names: Vec<&str> = self.kind.units().iter().map(|(name, _)| *name).collect();
            return Err(BadDocument::Header {
                found: header.trim().chars().take(40).collect(),
                wanted: names.join("` or `end,"),
            });
        };
        if rows.lines().count() > ROWS_MAX {
            return Err(BadDocument::TooManyRows);
        }
        Ok((*factor, rows))
    }

    fn read_row(&mut self, row: &str, unit: f64, now: Utc) -> Result<Utc, Refused> {
        let (stamp, value) = row.split_once(',').ok_or(Refused::Malformed)?;
        let end: Utc = stamp.parse().map_err(|bad| match bad {
            BadStamp::Naive => Refused::Naive,
            BadStamp::Malformed => Refused::Malformed,
        })?;
        if end > now.plus_s(AHEAD_S_MAX) {
            return Err(Refused::Future);
        }
        let value = match value.trim() {
            "" | "null" | "nil" | "None" | "NA" => return Err(Refused::Missing),
            text => text.parse::<f64>().map_err(|_| Refused::Malformed)?,
        };
        if !value.is_finite() {
            return Err(Refused::Missing);
        }
        self.push(end, value * unit).map(|()| end)
    }

    /// One value, for sources that are not CSV: in our unit, for the interval that ends at `end`.
    pub fn push(&mut self, end: Utc, value: f64) -> Result<(), Refused> {
        let value = self.kind.checked(end, self.span_s, value)?;
        if self.series.until().is_some_and(|until| end <= until) {
            return Err(Refused::Repeated);
        }
        let since = match self.still {
            Some((still, since)) if still == value && self.kind.must_move(value) => since,
            _ => end,
        };
        let was_trusted = self.series.until();
        self.still = Some((value, since));
        if end.0 - since.0 >= STUCK_S {
            let false_ones = since.slot()..=was_trusted.unwrap_or(since).slot();
            false_ones.for_each(|slot| self.series.forget(slot));
            return Err(Refused::Stuck);
        }
        match self.series.add(end, self.span_s, value) {
            Ok(()) => Ok(()),
            Err(NotAdded::Repeated | NotAdded::Span) => Err(Refused::Repeated),
        }
    }
}
