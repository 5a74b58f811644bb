//! A VM has a disk of its own, and what it writes it reads back.
//!
//! Does:      adds an image with a disk, runs two VMs that write to private copies.
//! Does not:  keep the disks: they live as long as their VMs.
//! Bounds:    one machine, two VMs.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::fs::File;
use std::time::Duration;

use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{GUEST_CMDLINE, Node, direct};
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;

/// Bytes of the disk; the guest writes a quarter MiB.
const DISK_SIZE: u64 = 4 * 1024 * 1024;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "disk",
    promise: "VMs with private disks write, flush and read back what they wrote",
    limit: Duration::from_secs(300),
    is_long: false,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = Shape::new("host", Firmware::Bios, direct(story.supplies(), ""));
    let machine = story.power_on(lan.plug(shape)?)?;
    let node = Node::join(story, &lan, machine)?;

    let disk = story.folders().logs.join("disk.raw");
    File::create(&disk)?.set_len(DISK_SIZE)?;
    let image = story.supplies().guest.clone();
    let paths = [&image.kernel, &image.initrd, &disk].map(|path| path.display().to_string());
    let words = [
        "image", "add", "guest", "--kernel", &paths[0], "--initrd", &paths[1],
    ];
    let more = ["--disk", &paths[2], "--cmdline", GUEST_CMDLINE];
    node.luc.run(&[&words[..], &more].concat())?;

    for name in ["first", "second"] {
        node.create(name, "disk", &["--disk", "private"])?;
    }
    for name in ["first", "second"] {
        node.wait_token(story, name)?;
        node.wait(name, &format!("console~{}ok", guest::DISK_LINE))?;
    }
    node.delete(&["first", "second"])
}
