//! What must hold for any bytes that feeds and other sites send.

use super::{Feed, Kind, SiteState, Utc, push_sum::Part, state::BYTES_MAX, sun::Location};

/// A state that is read is consistent, small, and reads back from what it writes.
pub fn fuzz_site_state(bytes: &[u8]) {
    let Ok(state) = SiteState::decode(bytes) else {
        return;
    };
    let written = state.encode();
    assert!(written.len() <= BYTES_MAX);
    assert_eq!(SiteState::decode(&written).as_ref(), Ok(&state));
    for slot in state.first() - 1..state.first() + 97 {
        assert!(state.likely(slot) <= state.middle(slot));
        assert!(Some(state.surplus(slot)) <= state.likely(slot).or(Some(state.surplus(slot))));
        assert!(state.carbon(slot) != Some(0));
    }
    assert!(!state.is_news(Some((&state, Utc(0))), Utc(1)));
}

/// A feed never holds more than is possible, whatever it is sent, and counts every row.
pub fn fuzz_feed(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let place = Some(Location {
        latitude_milli: 48_857,
        longitude_milli: 2_352,
    });
    let nameplate_uw = 5_000_000_000;
    for kind in [
        Kind::Solar {
            nameplate_uw,
            place,
        },
        Kind::Wind { nameplate_uw },
        Kind::Battery,
        Kind::Carbon { yearly: 475_000 },
    ] {
        let mut feed = Feed::new(kind, 3600);
        let Ok(taken) = feed.read_csv(&text, Utc(1_800_000_000), |_, _| ()) else {
            continue;
        };
        let rows = text.lines().skip(1).filter(|row| !row.trim().is_empty());
        assert_eq!(
            rows.count(),
            usize::try_from(taken.rows + taken.all_refused()).unwrap_or(0)
        );
        let most = feed.series().known().map(|(_, value)| value).max();
        assert!(most <= Some(6_000_000_000), "{most:?}");
    }
}

/// A part of a sum that is read is taken or refused whole.
pub fn fuzz_part(bytes: &[u8]) {
    let Ok(part) = Part::decode(bytes) else {
        return;
    };
    assert_eq!(Part::decode(&part.encode()), Ok(part));
}
