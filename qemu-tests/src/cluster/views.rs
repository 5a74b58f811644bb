//! What nodes say of each other and of VMs, asked one by one.
//!
//! Does:      reads the lists of `luc` as JSON, and waits until nodes say what is wanted.
//! Does not:  decide what is wanted; scenarios do.
//! Bounds:    every wait ends at the scenario's limit; a list has a few lines.
//! Trusts:    nothing: who says something else than wanted is named, with what it said.
//! Start at:  `Census`, `agree`, `demand_within`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Member;
use crate::demand;
use crate::scenario::Problem;
use crate::story::Story;

/// How often nodes are asked; each is one emulated processor.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the design promises of nodes on processors of their own.
pub mod promised {
    use std::time::Duration;

    /// A node without power is dead to its site, and to all.
    pub const DEAD_IN_SITE: Duration = Duration::from_secs(5);
    pub const DEAD_TO_ALL: Duration = Duration::from_secs(8);
    /// After the end of a split there is one view.
    pub const HEALED: Duration = Duration::from_secs(10);
    /// Who comes back is listed by all, after it is ready.
    pub const BACK: Duration = Duration::from_secs(10);
}

/// Our nodes are emulated, five on two processors, and asking all of them takes a second: they get
/// so many times what is promised.
const EMULATED: u32 = 2;

/// A list without what differs from node to node: for each key, in words, what is said of it.
pub type List = BTreeMap<String, String>;

/// Nodes by id, and what is said of each: its name and its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(pub List);

impl Census {
    /// These nodes, all of them alive.
    #[must_use]
    pub fn alive(members: &[&Member]) -> Self {
        Self::default().and(members, "alive")
    }

    /// The same with these nodes in a state.
    #[must_use]
    pub fn and(mut self, members: &[&Member], state: &str) -> Self {
        for member in members {
            let said = format!("{} {state}", member.seat.name);
            self.0.insert(member.id.clone(), said);
        }
        self
    }
}

impl Member {
    /// All nodes, as this one knows them.
    pub fn census(&self) -> Result<List, Problem> {
        let said = |node: &Value| {
            let [name, state] = ["name", "state"].map(|key| text(&node[key]));
            (text(&node["id"]), format!("{name} {state}"))
        };
        Ok(rows(&self.node.luc.json(&["node", "list"])?, said))
    }

    /// All VMs, as this one knows them: name, state and the host's name.
    pub fn vms(&self) -> Result<List, Problem> {
        let said = |vm: &Value| {
            let host = text(&vm["place"]["name"]);
            (
                text(&vm["name"]),
                format!("{} on {host}", text(&vm["state"])),
            )
        };
        Ok(rows(&self.node.luc.json(&["vm", "list"])?, said))
    }

    /// Where images are, as this one knows it: each with its name and a node that has it.
    pub fn images(&self) -> Result<List, Problem> {
        let all = self.node.luc.json(&["image", "list"])?;
        let mut list = List::new();
        for image in all.as_array().into_iter().flatten() {
            for place in image["places"].as_array().into_iter().flatten() {
                let [image, host] = [&image["name"], &place["name"]].map(text);
                list.insert(format!("{image} on {host}"), "there".to_owned());
            }
        }
        Ok(list)
    }

    /// How often a node has booted with the identity that it has now, as this one knows it.
    pub fn boots_of(&self, id: &str) -> Result<u64, Problem> {
        let all = self.node.luc.json(&["node", "list"])?;
        let rows = all.as_array().map_or(&[][..], Vec::as_slice);
        let row = rows.iter().find(|row| row["id"] == id);
        let boots = row.and_then(|row| row["boots"].as_u64());
        boots.ok_or_else(|| Problem::Broken(format!("no boots of {id} in {all}")))
    }
}

fn rows(list: &Value, row: impl Fn(&Value) -> (String, String)) -> List {
    list.as_array().into_iter().flatten().map(row).collect()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Asks these nodes until all of them, one after the other, say the same as is wanted. Returns for
/// each when it first did so, since `since`.
pub fn agree(
    story: &Story,
    asked: &[&Member],
    since: Instant,
    ask: impl Fn(&Member) -> Result<List, Problem>,
    wanted: &List,
) -> Result<Vec<Duration>, Problem> {
    let mut first: Vec<Option<Duration>> = vec![None; asked.len()];
    loop {
        let mut others = String::new();
        for (member, first) in asked.iter().zip(&mut first) {
            let said = ask(member)?;
            if said == *wanted {
                first.get_or_insert_with(|| since.elapsed());
            } else {
                let _ = write!(others, "; {} says {said:?}", member.seat.name);
            }
        }
        if others.is_empty() {
            return Ok(first.into_iter().flatten().collect());
        }
        if story.left().is_zero() {
            return Err(Problem::Broken(format!("wanted {wanted:?}{others}")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Says how long something took for the slowest, which must be within what is promised.
pub fn demand_within(
    story: &Story,
    what: &str,
    times: &[Duration],
    promised: Duration,
) -> Result<(), Problem> {
    let took = times.iter().max().copied().unwrap_or_default();
    let (seconds, limit) = (slowest(times), promised * EMULATED);
    story.say(&format!("{what} after {seconds}"));
    demand!(
        took <= limit,
        "{what} after {seconds}; {} s are promised, and {} s are allowed to emulated nodes",
        promised.as_secs(),
        limit.as_secs()
    );
    Ok(())
}

/// The slowest of some times, in seconds with a decimal, as people read it.
#[must_use]
pub fn slowest(times: &[Duration]) -> String {
    let slowest = times.iter().max().copied().unwrap_or_default();
    format!("{:.1} s", slowest.as_secs_f64())
}
