//! Every history that ever broke something is run again.

#![allow(clippy::unwrap_used)]

use sim::Ours;
use sim::checks::{Limits, judge};
use sim::history::History;
use std::path::Path;

#[test]
fn what_once_broke_holds_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return; // nothing ever broke
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let history = History::from_toml(&text).unwrap();
        let outcome = judge::<Ours>(&history, Limits::OVERLAY);
        assert!(
            outcome.is_good(),
            "{}: {:#?}",
            path.display(),
            outcome.violations
        );
    }
}
