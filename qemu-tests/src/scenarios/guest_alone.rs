//! The test guest runs in QEMU without a node: what later scenarios blame a node for, works here.
//!
//! Does:      boots the guest's kernel and program directly, and presses the power button.
//! Does not:  test LUC OS; it tests the rig.
//! Bounds:    one machine.
//! Trusts:    QEMU.
//! Start at:  `run`.

use std::time::Duration;

use crate::demand;
use crate::machine::{Firmware, Shape};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "guest-alone",
    promise: "the test guest boots in plain QEMU, prints its token and obeys the power button",
    limit: Duration::from_secs(180),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let image = story.supplies().guest.clone();
    let boot = image.boot("luc.nonce=alone");
    let mut machine = story.power_on(Shape::new("guest", Firmware::Bios, boot).memory_mib(256))?;

    let line = machine.booted(guest::TOKEN_LINE, story.left())?;
    let token = guest::token("alone", &image.release);
    demand!(
        line.text.ends_with(&token),
        "expected token {token}, the guest said {:?}",
        line.text
    );

    machine.serial().wait_for("listening to", story.left())?;
    machine.press_power()?;
    machine
        .serial()
        .wait_for(guest::BUTTON_LINE, story.left())?;
    machine.wait_off(story.left())?;
    Ok(())
}
