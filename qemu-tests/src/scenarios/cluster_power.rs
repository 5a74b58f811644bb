//! Each node in turn loses its power, and comes back: with its disk as itself, without as another.
//!
//! Does:      cuts the power of all five nodes one after the other, twice each.
//! Does not:  run VMs: `cluster` does.
//! Bounds:    five machines, fifteen boots.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::{Duration, Instant};

use crate::cluster::Member;
use crate::cluster::five::Five;
use crate::cluster::views::{Census, agree, demand_within, promised};
use crate::demand;
use crate::scenario::{Outcome, Problem, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "cluster-power",
    promise: "each of five nodes is missed by all when its power goes, and comes back \
              as itself with its disk, as another without",
    limit: Duration::from_secs(1800),
    is_long: true,
    run,
};

fn run(story: &mut Story) -> Outcome {
    let mut five = Five::boot(story)?;
    agree_all(story, &five, "joined: one view")?;
    let names: Vec<&str> = five.members.iter().map(|one| one.seat.name).collect();
    for name in names {
        return_as_itself(story, &mut five, name)?;
        return_as_another(story, &mut five, name)?;
    }
    Ok(())
}

/// All nodes list the same five, all of them alive, soon enough.
fn agree_all(story: &Story, five: &Five, what: &str) -> Outcome {
    let all = Census::alive(&five.all());
    let times = agree(story, &five.all(), Instant::now(), Member::census, &all.0)?;
    demand_within(story, what, &times, promised::BACK)
}

/// With its disk, a node keeps its key and counts its boots.
pub(super) fn return_as_itself(story: &Story, five: &mut Five, name: &str) -> Outcome {
    let id = five.node(name)?.id.clone();
    let witness = |five: &Five| {
        five.members
            .first()
            .map(|one| one.boots_of(&id))
            .transpose()
    };
    let before = five.node(name)?.boots_of(&id)?;
    let member = five.take(name)?;
    let seat = lose(story, five, member)?;
    five.bring_back(story, seat)?;
    let what = format!("{name}: back with its disk, listed by all");
    agree_all(story, five, &what)?;
    let now = five.node(name)?;
    demand!(now.id == id, "{name} came back as {} and was {id}", now.id);
    let boots = witness(five)?;
    demand!(
        boots == Some(before + 1),
        "{name} had booted {before} times, and others count {boots:?} now"
    );
    Ok(())
}

/// Without, it is another, and nothing is left of the one that it was.
pub(super) fn return_as_another(story: &Story, five: &mut Five, name: &str) -> Outcome {
    let member = five.take(name)?;
    let id = member.id.clone();
    let mut seat = lose(story, five, member)?;
    seat.lose_disk(story)?;
    five.bring_back(story, seat)?;
    let what = format!("{name}: back without its disk, listed by all");
    agree_all(story, five, &what)?; // exactly five: the old one is in no list
    let now = &five.node(name)?.id;
    demand!(*now != id, "{name} has the key of a disk that it lost");
    Ok(())
}

/// Cuts a node's power, and waits until all others miss it.
fn lose(story: &Story, five: &Five, member: Member) -> Result<crate::cluster::Seat, Problem> {
    let (near, far): (Vec<&Member>, Vec<&Member>) = five
        .members
        .iter()
        .partition(|one| one.seat.site == member.seat.site);
    // Of a site in which nobody is left, nobody knows more.
    let state = if near.is_empty() {
        "unreachable"
    } else {
        "dead"
    };
    let wanted = Census::alive(&five.all()).and(&[&member], state);
    let (name, began) = (member.seat.name, Instant::now());
    let seat = member.cut_power();
    // Site and others are asked in one round: who sees it first does not wait for who is last.
    let asked = [&near[..], &far[..]].concat();
    let times = agree(story, &asked, began, Member::census, &wanted.0)?;
    let (near, far) = times.split_at(near.len());
    if !near.is_empty() {
        let what = format!("{name}: {state} in its site");
        demand_within(story, &what, near, promised::DEAD_IN_SITE)?;
    }
    let what = format!("{name}: {state} elsewhere");
    demand_within(story, &what, far, promised::DEAD_TO_ALL)?;
    Ok(seat)
}
