//! What people see of energy: pictures before tables, and sums that they can check.
#![allow(clippy::unwrap_used)]

mod fake;
mod harness;

use fake::FakeNode;
use harness::{file, luc};
use protocol::{NodeEnergy, problem::exit};

#[test]
fn energy_is_a_bar_for_each_account_largest_first() {
    let node = FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", b"a kernel");
    let at = format!("--via {}", node.address());
    luc(&format!("{at} image add img --kernel {}", kernel.display()));
    let made = luc(&format!("{at} vm create web --image img --wait"));
    assert_eq!(made.code, exit::DONE, "{made:?}");
    let ran = luc(&format!("{at} energy now"));
    let lines: Vec<&str> = ran.output.lines().collect();
    assert!(lines[0].starts_with("ACCOUNT"), "{}", ran.output);
    assert!(
        lines[1].starts_with("idle, unsold  89.0 W  |############################.   |"),
        "{}",
        ran.output
    );
    assert!(
        lines[2].starts_with("web           10.0 W  |###."),
        "{}",
        ran.output
    );
    assert!(
        lines[3].starts_with("node          1.0 W   |.  "),
        "{}",
        ran.output
    );
    assert!(
        ran.output.contains("draws   100.0 W, within 49.0 W"),
        "{}",
        ran.output
    );
    assert!(ran.output.contains("no meter answers"), "{}", ran.output);
    let one = luc(&format!("{at} energy vm web"));
    assert!(one.output.contains("energy   40.0 J"), "{}", one.output);
    let own = luc(&format!("{at} energy self"));
    assert!(
        own.output.contains("node") && !own.output.contains("web"),
        "{}",
        own.output
    );
    let sources = luc(&format!("{at} energy sources"));
    assert!(sources.output.contains("quarantined"), "{}", sources.output);
    assert!(sources.output.contains("never"), "{}", sources.output);
    let json = luc(&format!("{at} energy now -o json"));
    let told: NodeEnergy = serde_json::from_str(&json.output).unwrap();
    let sum: u64 = told.accounts.iter().map(|account| account.energy().0).sum();
    assert_eq!(sum, told.energy_uj.0);
}

#[test]
fn a_vm_without_energy_yet_is_told_what_to_do() {
    let node = FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", b"a kernel");
    let at = format!("--via {}", node.address());
    luc(&format!("{at} image add img --kernel {}", kernel.display()));
    luc(&format!("{at} vm create web --image img --wait"));
    luc(&format!("{at} vm stop web --force --wait"));
    let ran = luc(&format!("{at} energy vm web"));
    assert_eq!(ran.code, exit::NOT_FOUND, "{ran:?}");
    assert!(ran.errors.contains("look again"), "{}", ran.errors);
}
