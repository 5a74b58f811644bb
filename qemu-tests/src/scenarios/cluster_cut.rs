//! Ways between sites that are cut for minutes, in one direction, or every half minute.
//!
//! Does:      cuts two nodes from three and heals; cuts one direction; makes a way come and go.
//! Does not:  cut power: `cluster-power` does.
//! Bounds:    five machines.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::{Duration, Instant};

use crate::cluster::Member;
use crate::cluster::five::{CUT, Five, LINE};
use crate::cluster::views::{Census, agree, demand_within, promised};
use crate::demand;
use crate::scenario::{Outcome, Scenario};
use crate::story::Story;
use crate::wire::Link;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "cluster-cut",
    promise: "sites that were apart for minutes are one again within seconds, and ways that fail \
              in one direction or every half minute make no healthy node dead",
    limit: Duration::from_secs(1500),
    is_long: true,
    run,
};

/// The half with two nodes; the others are three.
const HALF: &[usize] = &[0];
const APART: Duration = Duration::from_secs(240);
/// How long one direction is cut.
const ONE_WAY: Duration = Duration::from_secs(90);
/// A flapping way is whole for so long, and cut for as long.
const FLAP: Duration = Duration::from_secs(30);
const FLAPS: usize = 3;
/// How often nodes are asked meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(1);

fn run(story: &mut Story) -> Outcome {
    let five = Five::boot(story)?;
    one_view(story, &five, "joined")?;

    five.cluster.backbone.set_around(HALF, CUT);
    watch(story, &five, APART, "two nodes apart from three")?;
    five.cluster.backbone.set_around(HALF, LINE);
    one_view(story, &five, "healed")?;

    five.cluster.backbone.set_path(0, 1, CUT);
    watch(story, &five, ONE_WAY, "one direction cut")?;
    five.cluster.backbone.set_path(0, 1, LINE);
    one_view(story, &five, "both directions")?;

    for _ in 0..FLAPS {
        for link in [CUT, LINE] {
            both_ways(&five, link);
            watch(story, &five, FLAP, "a way that comes and goes")?;
        }
    }
    one_view(story, &five, "the way stays")?;
    five.all().into_iter().try_for_each(demand_no_death)
}

/// Nor did anybody see a death between our looks.
fn demand_no_death(member: &Member) -> Outcome {
    let events = member.node.luc.json(&["events"])?;
    let rows = events.as_array().map_or(&[][..], Vec::as_slice);
    demand!(!rows.is_empty(), "{} saw nothing happen", member.seat.name);
    let death = rows.iter().find(|event| event["text"] == "dead");
    demand!(death.is_none(), "{} saw {death:?}", member.seat.name);
    Ok(())
}

fn both_ways(five: &Five, link: Link) {
    five.cluster.backbone.set_path(0, 1, link);
    five.cluster.backbone.set_path(1, 0, link);
}

/// All nodes list all nodes, all of them alive.
fn one_view(story: &Story, five: &Five, what: &str) -> Outcome {
    let all = Census::alive(&five.all());
    let times = agree(story, &five.all(), Instant::now(), Member::census, &all.0)?;
    let what = format!("{what}: one view");
    demand_within(story, &what, &times, promised::HEALED)
}

/// For a while, nobody may say of anybody that it is dead. All of them live.
fn watch(story: &Story, five: &Five, during: Duration, what: &str) -> Outcome {
    let until = Instant::now() + during;
    let (mut asked, mut doubts) = (0_usize, 0_usize);
    while Instant::now() < until {
        for member in five.all() {
            let said = member.census()?;
            let dead = said.values().find(|words| words.ends_with(" dead"));
            let name = member.seat.name;
            demand!(dead.is_none(), "{what}: {name} says {dead:?}");
            doubts += said
                .values()
                .filter(|words| !words.ends_with(" alive"))
                .count();
            asked += said.len();
        }
        std::thread::sleep(LOOK_EVERY);
    }
    story.say(&format!(
        "{what}: of {asked} words on nodes, {doubts} were not \"alive\""
    ));
    Ok(())
}
