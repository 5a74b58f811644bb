//! Machines boot from a server that is not ours: Debian's dnsmasq.
//!
//! Does:      a BIOS and a UEFI machine get address, loader and image from dnsmasq by TFTP.
//! Does not:  use any of our server code.
//! Bounds:    two machines, one after the other; needs root for a network namespace.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::demand_ready;
use crate::lan::{Dnsmasq, Lan};
use crate::machine::{Boot, Firmware, Shape};
use crate::node::Node;
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "pxe-dnsmasq",
    promise: "BIOS and UEFI machines boot from dnsmasq, an independent server",
    limit: Duration::from_secs(420),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::start(story, "lan")?;
    let port = lan.add_port()?;
    let log = story.folders().logs.join("dnsmasq.txt");
    let server = Dnsmasq::start(&port, &story.supplies().paths.image, &log)?;
    for (name, firmware) in [("bios", Firmware::Bios), ("uefi", Firmware::Uefi)] {
        let shape = lan.plug(Shape::new(name, firmware, Boot::Pxe).memory_mib(256))?;
        let machine = story.power_on(shape)?;

        let node = Node::join(story, &lan, machine)?;
        demand_ready(&node, &lan)?;
        node.machine.switch_off()?;
    }
    drop(server);
    Ok(())
}
