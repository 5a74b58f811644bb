//! `luc site ...` and `luc events`.
//!
//! Start at:  `list`.

use super::Session;
use crate::{
    Done,
    arguments::{EventsOf, Format},
    client::Client,
    render::{self, check_columns},
};
use protocol::{Event, Problem, SiteEntry, Wish, limits, problem::exit};
use std::time::Duration;

pub(super) fn list(session: &mut Session<'_>) -> Done {
    check_columns::<SiteEntry>(session.common)?;
    let sites = session.client.list_sites()?;
    let word = "No sites: this node belongs to no cluster. Make one: luc cluster init";
    session.if_empty(sites.items.is_empty(), word);
    session.page(&sites)
}

pub(super) fn events(of: &EventsOf, session: &mut Session<'_>) -> Done {
    check_columns::<Event>(session.common)?;
    let client = session.client.aimed_at(Wish {
        node: of.node.clone(),
        site: None,
    });
    let mut after = 0;
    let mut all = Vec::new();
    loop {
        let page = client.events(after, Duration::ZERO)?;
        tell_missed(page.missed, session);
        (after, all) = match page.items.is_empty() {
            true => break,
            false => (page.next, [all, page.items].concat()),
        };
    }
    session.list(&all)?;
    match of.follow {
        true => follow(&client, after, session),
        false => Ok(exit::DONE),
    }
}

/// Until the node falls silent or a signal comes.
fn follow(client: &Client, mut after: u64, session: &mut Session<'_>) -> Done {
    // Shorter than the client's own patience, which would take silence for a dead node.
    let wait = (client.patience() / 2).min(Duration::from_millis(limits::EVENTS_WAIT_MS_MAX));
    loop {
        let page = client.events(after, wait).map_err(told)?;
        tell_missed(page.missed, session);
        after = page.next;
        tell(&page.items, session)?;
    }
}

fn told(problem: Problem) -> Problem {
    problem.with_lost("Nodes go on noting what happens; follow again, or through another node.")
}

fn tell_missed(missed: u64, session: &mut Session<'_>) {
    if missed > 0 {
        session.note(&[format!("{missed} older events are forgotten")]);
    }
}

/// Rows without a heading; one object a line for programs.
fn tell(events: &[Event], session: &mut Session<'_>) -> Result<(), Problem> {
    let format = session.common.output;
    let rows = matches!(format, Format::Table | Format::Wide);
    for event in events {
        let event = std::slice::from_ref(event);
        match rows {
            true => render::rows(event, &session.view(), session.streams)?,
            false => render::list(event, &session.view(), session.streams)?,
        }
    }
    Ok(())
}
