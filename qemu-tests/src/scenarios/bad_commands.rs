//! Every wrong command line gets a clear answer and an exit code of its own kind.
//!
//! Does:      gives `luc` wrong words, names that are not there, and a node that is not there.
//! Does not:  test help texts; the command's own tests do.
//! Bounds:    one machine.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::demand_ready;
use crate::demand;
use crate::lan::Lan;
use crate::luc::Luc;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "bad-commands",
    promise: "wrong command lines end with the right exit code and a sentence",
    limit: Duration::from_secs(300),
    is_long: false,
    run,
};

/// Words, exit code, and what stderr must say.
#[rustfmt::skip] // keeps the columns
const CASES: &[(&[&str], i32, &str)] = &[
    (&["vm", "dance"],                                                   2, "dance"),
    (&["vm", "create"],                                                  2, "--image"),
    (&["vm", "create", "No Name", "--image", "x"],                       2, "No Name"),
    (&["vm", "create", "a", "--image", "x", "--memory", "lots"],         2, "lots"),
    (&["vm", "create", "a", "--image", "x", "--vcpus", "99"],            2, "99"),
    (&["vm", "show", "absent"],                                          3, "absent"),
    (&["vm", "delete", "absent", "--yes"],                               3, "absent"),
    (&["vm", "create", "a", "--image", "absent"],                        3, "absent"),
    (&["image", "show", "absent"],                                       3, "absent"),
    (&["image", "add", "x", "--kernel", "/does/not/exist"],              1, "/does/not/exist"),
    (&["wait", "vm", "absent", "--for", "running", "--timeout", "1s"],   7, "absent"),
];

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = Shape::new("host", Firmware::Bios, direct(story.supplies(), ""));
    let machine = story.power_on(lan.plug(shape)?)?;
    let node = Node::join(story, &lan, machine)?;

    let mut wrong = Vec::new();
    for (words, code, says) in CASES {
        let answer = node.luc.ask(words)?;
        let is_right = answer.code == *code && answer.stderr.contains(says);
        if !is_right || !answer.stdout.is_empty() {
            wrong.push(format!(
                "luc {}: expected {code} and {says:?}, got {answer:?}",
                words.join(" ")
            ));
        }
    }
    demand!(
        wrong.is_empty(),
        "{} unclear answers:\n{}",
        wrong.len(),
        wrong.join("\n")
    );

    // A kernel that is none, and a name that is taken.
    let readme = story.supplies().paths.workspace.join("Cargo.toml");
    let readme = readme.display().to_string();
    let answer = node
        .luc
        .ask(&["image", "add", "odd", "--kernel", &readme])?;
    if answer.code == 0 {
        let answer = node
            .luc
            .ask(&["vm", "create", "odd", "--image", "odd", "--wait"])?;
        demand!(answer.code != 0, "a VM runs from a text file: {answer:?}");
    }
    node.add_guest_image(story)?;
    node.create("once", "idle", &[])?;
    node.refuses(&["vm", "create", "once", "--image", "guest"], 4, "once")?;

    // Nobody answers at the discard port of loopback.
    let nowhere = Luc::new(&story.supplies().luc, "127.0.0.1:9", story.folders().logs);
    let answer = nowhere.ask(&["node", "show", "--timeout", "2s"])?;
    let is_right = answer.code == 8 && answer.stderr.contains("127.0.0.1:9");
    demand!(is_right, "an unreachable node: {answer:?}");
    node.delete(&["once"])?;
    demand_ready(&node, &lan)
}
