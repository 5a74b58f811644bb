//! Why a VM is where it is, in a person's words.

use crate::score::{Cost, Ranking, TERMS, Term};
use protocol::NodeId;

/// Others that are named; more are counted.
const NAMED_MAX: usize = 5;

/// A sentence for the choice and one for each node that was not chosen, the best first.
/// `named`: what people call a node.
#[must_use]
pub fn explain(ranking: &Ranking, named: impl Fn(NodeId) -> String) -> Vec<String> {
    let mut told = Vec::new();
    let Some((chosen, others)) = ranking.costs.split_first() else {
        told.push("No node can run it.".to_owned());
        told.extend(refusals(ranking, &named));
        return told;
    };
    told.push(format!(
        "{}: {}.",
        named(chosen.node),
        match others.len() {
            0 => "the only node that can run it".to_owned(),
            count => format!("costs the least of {} that can run it", count + 1),
        }
    ));
    if chosen.green_slots > 0 {
        let quarters = chosen.green_slots * 15;
        let (hours, minutes) = (quarters / 60, quarters % 60);
        told.push(format!(
            "Renewable power is left over for it there for {hours} h {minutes:02} min \
             of the next {} h.",
            chosen.slots / 4
        ));
    }
    for other in others.iter().take(NAMED_MAX) {
        let what = match decisive(chosen, other) {
            Some((term, more_uj)) => format!("{} ({})", said(term), joules(more_uj)),
            None => "it is as good, and its id is higher".to_owned(),
        };
        told.push(format!("Not {}: {what}.", named(other.node)));
    }
    if others.len() > NAMED_MAX {
        told.push(format!("And {} more.", others.len() - NAMED_MAX));
    }
    told.extend(refusals(ranking, &named));
    told
}

fn refusals(ranking: &Ranking, named: &impl Fn(NodeId) -> String) -> Vec<String> {
    let named = |(node, why): &(NodeId, _)| format!("Not {}: {why}.", named(*node));
    let mut told: Vec<String> = ranking.unfit.iter().take(NAMED_MAX).map(named).collect();
    if let more @ 1.. = ranking.unfit.len().saturating_sub(NAMED_MAX) {
        told.push(format!("And {more} more that can't run it."));
    }
    told
}

/// The term that speaks most against the other, and by how much.
fn decisive(chosen: &Cost, other: &Cost) -> Option<(Term, u128)> {
    let more = |term: Term| other.weighed(term).saturating_sub(chosen.weighed(term));
    let worst = TERMS.into_iter().max_by_key(|term| more(*term))?;
    Some((worst, more(worst))).filter(|(_, more)| *more > 0)
}

const fn said(term: Term) -> &'static str {
    match term {
        Term::Grid => "it would draw more from the grid",
        Term::Distance => "it is farther from its users",
        Term::Fullness => "it is fuller",
        Term::Moving => "more would have to be carried there",
        Term::Waking => "it sleeps and would have to wake",
        Term::Money => "power costs more there",
    }
}

fn joules(uj: u128) -> String {
    let unit = [
        ("MJ", 1_000_000_000_000),
        ("kJ", 1_000_000_000),
        ("J", 1_000_000),
    ];
    let found = unit.into_iter().find(|(_, size)| uj >= *size);
    let (name, size) = found.unwrap_or(("mJ", 1_000));
    format!("+{} {name}", uj / size)
}
