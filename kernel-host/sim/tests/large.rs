//! Large clusters under a bounded programme: what is promised at 5,000 nodes, held at 600 in every
//! test run and at 5,000 by flag.

use sim::Ours;
use sim::measure::{Figures, Programme, measure};
use sim::report::{Report, programme};

fn keeps_promises(nodes: u32) -> Figures {
    let programme = Programme {
        settle_ms: 30_000,
        victims: 10,
        records: 10,
        ..programme(1, nodes, 20_000)
    };
    let figures = measure::<Ours>("overlay", programme, &mut |_, _| ());
    let report = Report {
        figures: vec![figures.clone()],
        ..Report::default()
    };
    println!("{}", report.table());
    let short = report.shortfalls();
    assert!(short.is_empty(), "{}", short.join("\n"));
    figures
}

#[test]
fn hundreds_of_nodes_keep_the_promises_of_thousands() {
    let figures = keeps_promises(600);
    // All that lived saw each death, and got each record.
    assert_eq!(figures.dead_everywhere.count, 10 * 590);
    assert_eq!(figures.spread.count, 10 * 589);
}

#[test]
#[ignore = "a quarter of an hour: cargo test -p sim --test large -- --ignored"]
fn five_thousand_nodes_keep_their_promises() {
    keeps_promises(5000);
}
