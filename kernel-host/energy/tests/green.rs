//! Feeds, forecasts and what a site says of itself, on documents and days made here.
#![allow(clippy::unwrap_used)]

use energy::green::{
    Feed, Green, Kind, SLOT_S, Utc,
    feed::{BadDocument, Refused},
    fuzz,
    generate::Sky,
    site::Foretold,
    skill::{Way, class},
    state::Now,
    sun::Location,
};
use protocol::Microwatts;

const PARIS: Location = Location {
    latitude_milli: 48_857,
    longitude_milli: 2_352,
};
const NAMEPLATE_UW: u64 = 5_000_000_000;
const SOLAR: Kind = Kind::Solar {
    nameplate_uw: NAMEPLATE_UW,
    place: Some(PARIS),
};

fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

#[test]
fn corpora_are_replayed() {
    let folder = env!("CARGO_MANIFEST_DIR");
    corpus::replay(folder, "site_state", fuzz::fuzz_site_state);
    corpus::replay(folder, "feed", fuzz::fuzz_feed);
    corpus::replay(folder, "part", fuzz::fuzz_part);
}

/// An inverter at dusk, in the forms that others had in public.
#[test]
fn what_cannot_be_is_refused_and_counted() {
    let mut feed = Feed::new(SOLAR, SLOT_S);
    let text = "\u{feff}end,watts\r\n\
        2026-06-21T10:15:00Z,4100.5\r\n\
        2026-06-21T10:30:00,4100\n\
        2026-06-21 10:30:00+00:00,65535\n\
        2026-06-21T10:45:00Z,2147483648\n\
        2026-06-21T10:45:00Z,-32768\n\
        2026-06-21T10:45:00Z,nan\n\
        2026-06-21T10:45:00Z,\n\
        2026-06-21T10:45:00Z,4,100\n\
        2026-06-21T1A:00:00Z,4100\n\
        2026-06-21T10:15:00Z,4200\n\
        2026-06-21T12:15:00+02:00,4200\n\
        2026-06-21T23:30:00Z,4100\n\
        2026-06-21T21:30:00Z,-3\n\
        2026-06-21T21:45:00Z,900\n";
    let taken = feed
        .read_csv(text, at("2026-06-21T21:45:00Z"), |_, _| ())
        .unwrap();
    let refused = [
        (Refused::Naive, 1),
        (Refused::Malformed, 2),
        (Refused::Future, 1),
        (Refused::Repeated, 2),
        (Refused::Missing, 2),
        (Refused::Implausible, 3),
        (Refused::Stuck, 0),
    ];
    for (why, count) in refused {
        assert_eq!(taken.refused(why), count, "{why:?}");
    }
    assert_eq!((taken.rows, taken.all_refused()), (3, 11));
    let value = |stamp: &str| feed.series().at(at(stamp).slot());
    assert_eq!(value("2026-06-21T10:15:00Z"), Some(4_100_500_000));
    assert_eq!(value("2026-06-21T10:30:00Z"), None);
    assert_eq!(value("2026-06-21T21:30:00Z"), Some(0)); // an inverter's own draw
    assert_eq!(value("2026-06-21T21:45:00Z"), Some(0)); // the battery, counted as sun
}

#[test]
fn a_document_is_refused_whole_with_a_reason() {
    let mut feed = Feed::new(Kind::Carbon { yearly: 56_000 }, 3600);
    let mut read = |text: &str| feed.read_csv(text, Utc(0), |_, _| ());
    for text in ["{}", "", "end,watts\n", "start,g_per_kwh\n"] {
        let problem = read(text).unwrap_err();
        assert!(matches!(problem, BadDocument::Header { .. }), "{problem}");
        assert!(problem.to_string().contains("end,g_per_kwh"), "{problem}");
    }
    let long = format!("end,g_per_kwh\n{}", "x\n".repeat(20_161));
    assert_eq!(read(&long), Err(BadDocument::TooManyRows));
    let long = "x".repeat((1 << 20) + 1);
    let too_long = BadDocument::TooLong {
        bytes: (1 << 20) + 1,
    };
    assert_eq!(read(&long), Err(too_long));
}

#[test]
fn a_grid_without_carbon_is_a_feed_without_a_value() {
    let mut feed = Feed::new(Kind::Carbon { yearly: 56_000 }, 1800);
    let text = "end,g_per_kwh\n\
        2026-01-01T00:30:00Z,43\n\
        2026-01-01T01:00:00Z,0\n\
        2026-01-01T01:30:00Z,9000\n\
        2026-01-01T01:30:00Z,51.5\n";
    let taken = feed
        .read_csv(text, at("2026-01-02T00:00:00Z"), |_, _| ())
        .unwrap();
    assert_eq!(
        (
            taken.rows,
            taken.refused(Refused::Missing),
            taken.refused(Refused::Implausible)
        ),
        (2, 1, 1)
    );
    let known: Vec<u64> = feed.series().known().map(|(_, value)| value).collect();
    assert_eq!(known, [43_000, 43_000, 51_500, 51_500]);
}

/// A value that stands still for three hours is no measurement, from its first repetition on; an
/// inverter at its limit is.
#[test]
fn a_sun_that_stands_still_is_no_sun() {
    let hours = |watts: u32| {
        let mut feed = Feed::new(SOLAR, SLOT_S);
        let first = at("2026-06-21T08:00:00Z").slot();
        let mut stuck = 0;
        for slot in first..first + 16 {
            let told = feed.push(Utc::end_of(slot), f64::from(watts) * 1e6);
            stuck += u32::from(told == Err(Refused::Stuck));
        }
        (feed.series().known().count(), stuck)
    };
    assert_eq!(hours(2_000), (0, 4));
    assert_eq!(hours(4_900), (16, 0));
}

/// A site that learned from `days` days of generated sun; returns the last slot too.
fn sunny_site(days: i64) -> (Green, i64) {
    let mut solar = Foretold::new(SOLAR, SLOT_S);
    let mut sky = Sky::new(11, PARIS, NAMEPLATE_UW);
    let first = at("2026-05-01T00:15:00Z").slot();
    let last = first + days * 96 - 1;
    for slot in first..=last {
        let end = Utc::end_of(slot);
        let watts = sky.next_power(end) / 1_000_000;
        let row = format!("end,watts\n{},{watts}\n", stamp(end));
        let taken = solar.take_csv(&row, end).unwrap();
        assert_eq!(taken.rows, 1, "{row}");
    }
    let green = Green {
        solar: Some(solar),
        ..Green::none()
    };
    (green, last)
}

/// Only the days of May and June 2026.
fn stamp(end: Utc) -> String {
    let (day, second) = end.day_and_second();
    let (month, day) = if day < 151 {
        (5, day - 119)
    } else {
        (6, day - 150)
    };
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!("2026-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z")
}

#[test]
fn truth_is_as_often_below_the_bars_as_they_say_and_nights_are_dark() {
    let (mut green, last) = sunny_site(30);
    let mut sky = Sky::new(11, PARIS, NAMEPLATE_UW);
    for slot in last - 30 * 96 + 1..=last {
        let _ = sky.next_power(Utc::end_of(slot));
    }
    let mut below = [0u32; 4];
    let mut days = 0u32;
    for slot in last + 1..=last + 20 * 96 {
        let truth = sky.next_power(Utc::end_of(slot));
        let bars = green.produced(Utc::end_of(slot - 8), slot);
        if !PARIS.may_shine(Utc::end_of(slot)) {
            assert_eq!(bars, energy::green::Bars::default());
        }
        if truth > NAMEPLATE_UW / 50 {
            days += 1;
            for (count, bar) in below
                .iter_mut()
                .zip([bars.q10, bars.q30, bars.q50, bars.q90])
            {
                *count += u32::from(truth < bar);
            }
        }
        let solar = green.solar.as_mut().unwrap();
        #[expect(clippy::cast_precision_loss)]
        solar.feed.push(Utc::end_of(slot), truth as f64).unwrap();
        solar.forecaster.learn(solar.feed.series(), slot);
    }
    let percent = below.map(|count| count * 100 / days);
    for (is, wanted) in percent.into_iter().zip([10, 30, 50, 90]) {
        assert!(is.abs_diff(wanted) <= 8, "{percent:?} of {days}");
    }
}

#[test]
fn a_silent_feed_fades_to_the_night_and_its_bar_stays_wide() {
    let (green, last) = sunny_site(20);
    let noon = last + 48; // the last slot ends at midnight
    let heard = Utc::end_of(last);
    let at_noon = |silent_hours: i64| green.produced(heard.plus_s(silent_hours * 3600), noon);
    let fresh = at_noon(0);
    assert!(fresh.q10 > 0 && fresh.q90 > fresh.q50 && fresh.q50 > fresh.q30);
    assert_eq!(at_noon(1), fresh);
    let half = at_noon(12);
    assert!(half.q30 < fresh.q30 && half.q30 > 0 && half.point < fresh.point);
    let gone = at_noon(24);
    assert_eq!((gone.point, gone.q10, gone.q30, gone.q50), (0, 0, 0, 0));
    assert!(gone.q90 >= fresh.q90, "{gone:?} {fresh:?}");
    let later = green.produced(heard.plus_s(20 * 86_400), noon + 20 * 96);
    assert_eq!(later.q30, 0);
}

#[test]
fn a_silent_grid_is_what_it_is_in_a_year() {
    let mut carbon = Foretold::new(Kind::Carbon { yearly: 300_000 }, 3600);
    let start = at("2026-05-01T00:00:00Z");
    for hour in 1..=24 * 10i64 {
        let end = start.plus_s(hour * 3600);
        let dirty = if hour % 24 > 12 { 200 } else { 100 };
        let row = format!("end,g_per_kwh\n{},{dirty}\n", stamp(end));
        carbon.take_csv(&row, end).unwrap();
    }
    let now = start.plus_s(240 * 3600);
    let soon = carbon.bars(now, now.slot() + 60);
    assert_eq!(soon.point / 1000, 200); // as yesterday at this hour
    let silent = carbon.bars(now.plus_s(86_400), now.slot() + 100);
    assert_eq!(
        (silent.point, silent.q10, silent.q90),
        (300_000, 150_000, 450_000)
    );
    let nothing = Foretold::new(Kind::Carbon { yearly: 300_000 }, 3600);
    assert_eq!(nothing.bars(now, now.slot()).point, 300_000);
}

/// Where the share of the envelope that shines says nothing, another way is taken.
#[test]
fn a_way_that_is_beaten_is_left() {
    let mut wind = Foretold::new(
        Kind::Wind {
            nameplate_uw: NAMEPLATE_UW,
        },
        SLOT_S,
    );
    // Full power every second hour: what is now says nothing, yesterday says all.
    for slot in 1..=96 * 20 {
        let value = if slot / 4 % 2 == 0 {
            3e9
        } else {
            1.0 + f64::from(slot % 5)
        };
        wind.feed.push(Utc::end_of(i64::from(slot)), value).unwrap();
        wind.forecaster.learn(wind.feed.series(), slot.into());
    }
    assert_eq!(wind.forecaster.way(4), Way::DayBefore);
    let skill = wind.forecaster.skill();
    assert!(skill.error_permille(class(4), Way::DayBefore) < Some(300));
    assert!(skill.error_permille(class(4), Way::Anchored) > Some(500));
}

#[test]
fn a_sites_day_is_packed_with_its_surplus() {
    let (green, last) = sunny_site(20);
    let now = Utc::end_of(last);
    let is = Now {
        draw: Microwatts::from_watts(300),
        ..Now::default()
    };
    let state = green.state(now, is);
    assert_eq!(state.first(), last + 1);
    let bars = green.produced(now, last + 50);
    let likely = state.likely(last + 50).unwrap().0;
    assert!(likely <= bars.q30 && likely + bars.q90 / 200 >= bars.q30);
    assert_eq!(state.surplus(last + 10), Microwatts::ZERO); // by night
    assert!(state.surplus(last + 50) > Microwatts::ZERO);
    assert_eq!(state.carbon(last + 50), None);
}
