//! Five nodes in three sites, far from each other, are one cluster through whichever is asked.
//!
//! Does:      boots them, asks each of them for all; runs a VM on one node through another; cuts
//!            the sites apart and together again, and the VM's host off its power.
//! Does not:  try every node and every kind of cut: `cluster-power` and `cluster-cut` do.
//! Bounds:    five machines, three VMs.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::{Duration, Instant};

use super::checks::demand_ready;
use crate::cluster::Member;
use crate::cluster::five::{CUT, Five, HOSTS, LINE, SITES};
use crate::cluster::views::{Census, List, agree, demand_within, promised, slowest};
use crate::demand;
use crate::node::GUEST;
use crate::scenario::{Outcome, Problem, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "cluster",
    promise: "five nodes in three sites agree, run VMs through any of them, \
              in both halves of a cut as well, and keep account of a host that lost power",
    limit: Duration::from_secs(1200),
    is_long: true,
    run,
};

/// The half with two nodes; the others are three.
const HALF: &[usize] = &[0];
/// How long the halves are apart.
const APART: Duration = Duration::from_secs(60);
/// How long idle nodes are watched.
const IDLE: Duration = Duration::from_secs(10);

fn run(story: &mut Story) -> Outcome {
    let mut five = Five::boot(story)?;
    let joined = Instant::now();
    let all = Census::alive(&five.all());
    let times = agree(story, &five.all(), joined, Member::census, &all.0)?;
    story.say(&format!(
        "all five list all five {} after the last joined",
        slowest(&times)
    ));
    story.say(&format!(
        "idle, they keep {:.2} processors busy",
        five.busy(IDLE)?
    ));
    demand_ready(&five.node("elster")?.node, &five.cluster.lans[2])?;

    let mut images = List::new();
    for host in HOSTS {
        five.node(host)?.node.add_guest_image(story)?;
        images.insert(format!("{GUEST} on {host}"), "there".to_owned());
    }
    let times = agree(story, &five.all(), Instant::now(), Member::images, &images)?;
    story.say(&format!("images: listed by all after {}", slowest(&times)));
    let mut vms = List::new();
    for (host, through) in HOSTS.into_iter().zip(["elster", "bever"]) {
        let vm = format!("on-{host}");
        create(five.node(through)?, &vm, &["--node", host])?;
        vms.insert(vm, format!("running on {host}"));
    }
    all_list(story, &five.all(), &vms, "VMs made through another site")?;

    cut(story, &five, &vms)?;
    lose_power(story, &mut five, vms)
}

fn create(through: &Member, vm: &str, more: &[&str]) -> Outcome {
    let words = ["vm", "create", vm, "--image", GUEST, "--memory", "96MiB"];
    let words = [&words[..], &["--wait", "--timeout", "240s"], more].concat();
    through.node.luc.run(&words)?;
    Ok(())
}

/// All of these nodes list the same VMs.
fn all_list(story: &Story, asked: &[&Member], vms: &List, what: &str) -> Outcome {
    let times = agree(story, asked, Instant::now(), Member::vms, vms)?;
    story.say(&format!("{what}: listed by all after {}", slowest(&times)));
    Ok(())
}

/// Both halves of a cluster go on; together again, they are of one mind.
fn cut(story: &Story, five: &Five, vms: &List) -> Outcome {
    let halves = five.halves(HALF);
    let began = Instant::now();
    five.cluster.backbone.set_around(HALF, CUT);
    for (here, there) in [(0, 1), (1, 0)] {
        let wanted = Census::alive(&halves[here]).and(&halves[there], "unreachable");
        let times = agree(story, &halves[here], began, Member::census, &wanted.0)?;
        let (count, of) = (halves[here].len(), halves[there].len());
        let what = format!("cut: {count} nodes miss the other {of}");
        demand_within(story, &what, &times, promised::DEAD_TO_ALL)?;
    }
    for (half, host) in halves.iter().zip(HOSTS) {
        let Some(through) = half.last() else {
            return Err(Problem::broken("half of the cluster is off"));
        };
        let vm = format!("cut-{host}");
        create(through, &vm, &["--site", SITES[five.node(host)?.seat.site]])?;
        through
            .node
            .luc
            .run(&["vm", "stop", &vm, "--force", "--wait"])?;
        through.node.luc.run(&["vm", "start", &vm, "--wait"])?;
        through.node.delete(&[&vm])?;
    }
    std::thread::sleep(APART.saturating_sub(began.elapsed()));

    let healed = Instant::now();
    five.cluster.backbone.set_around(HALF, LINE);
    let all = Census::alive(&five.all());
    let times = agree(story, &five.all(), healed, Member::census, &all.0)?;
    demand_within(story, "healed: one view of nodes", &times, promised::HEALED)?;
    let times = agree(story, &five.all(), healed, Member::vms, vms)?;
    demand_within(story, "healed: one view of VMs", &times, promised::HEALED)
}

/// A host that loses power is missed by all, and comes back as itself, with an account of its VM.
fn lose_power(story: &Story, five: &mut Five, mut vms: List) -> Outcome {
    let host = five.take("albis")?;
    let id = host.id.clone();
    let wanted = Census::alive(&five.all()).and(&[&host], "dead");
    let began = Instant::now();
    let seat = host.cut_power();
    let times = agree(story, &five.all(), began, Member::census, &wanted.0)?;
    demand_within(
        story,
        "power cut: dead to all",
        &times,
        promised::DEAD_TO_ALL,
    )?;
    all_list(story, &five.all(), &vms, "VMs of a host without power")?;

    five.bring_back(story, seat)?;
    let back = Instant::now();
    let all = Census::alive(&five.all());
    demand!(
        all.0.contains_key(&id),
        "the host came back as another: {all:?}"
    );
    let times = agree(story, &five.all(), back, Member::census, &all.0)?;
    demand_within(
        story,
        "back with its disk: alive to all",
        &times,
        promised::BACK,
    )?;
    for member in five.all() {
        let boots = member.boots_of(&id)?;
        demand!(
            boots == 2,
            "{} counts {boots} boots of the host",
            member.seat.name
        );
    }
    vms.insert("on-albis".to_owned(), "stopped on albis".to_owned());
    all_list(story, &five.all(), &vms, "VMs of a host that came back")
}
