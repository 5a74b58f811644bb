//! A person types into a guest's console, and reads what was printed before they came.
//!
//! Does:      holds a console open, types lines, opens it a second time, and reads the log.
//! Does not:  test terminals; the console's own tests do.
//! Bounds:    one machine, one VM, two consoles.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use crate::demand;
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "console",
    promise: "a console takes typing, keeps scrollback, and survives its readers",
    limit: Duration::from_secs(300),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = Shape::new("host", Firmware::Bios, direct(story.supplies(), ""));
    let machine = story.power_on(lan.plug(shape)?)?;
    let node = Node::join(story, &lan, machine)?;
    let release = story.supplies().guest.release.clone();
    node.add_guest_image(story)?;
    node.create("echo", "echo", &[])?;
    node.wait("echo", "console~listening to")?;

    let mut console = node.luc.console("echo")?;
    // Scrollback: the token came before we did.
    let token = guest::token("echo", &release);
    console.lines().wait_for(&token, story.left())?;
    for typed in ["hello", "a longer line with spaces"] {
        console.type_line(typed)?;
        let answer = format!("{}{}", guest::ECHO_LINE, guest::token(typed, &release));
        console.lines().wait_for(&answer, story.left())?;
    }
    drop(console);

    let answer = guest::token("hello", &release);
    let again = node.luc.console("echo")?;
    again.lines().wait_for(&answer, story.left())?;
    drop(again);
    let log = node.luc.run(&["vm", "log", "echo"])?;
    demand!(
        log.contains(&answer),
        "the log lost what was printed: {log}"
    );
    node.delete(&["echo"])
}
