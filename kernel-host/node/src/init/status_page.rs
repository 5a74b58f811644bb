//! The status page on a screen: what a technician wants to know before the machine.
//!
//! Does:      renders the standing, the addresses, the timeline and the last lines into a box.
//! Does not:  ask for anything: no keyboard is read.
//! Bounds:    exactly `WIDTH` x `HEIGHT` characters, whatever comes in.
//! Trusts:    nothing: texts are cut to their column.
//! Start at:  `render`.

use super::journal::{Journal, seconds};
use crate::supervision::{State, Status, console_text};
use std::fmt::Write as _;

/// A text screen's size since 1981; every firmware console and BMC viewer has it.
pub const WIDTH: usize = 80;
pub const HEIGHT: usize = 25;
/// Columns inside the box.
const INSIDE: usize = WIDTH - 4;
/// The column of labels.
const LABEL: usize = 12;

/// What the page shows beside the node's own standing.
#[derive(Debug, Default)]
pub struct Machine {
    pub version: String,
    pub kernel: String,
    pub product: String,
    pub memory: String,
    pub watchdog: String,
}

/// The page as plain text: `HEIGHT` lines of `WIDTH` characters.
#[must_use]
pub fn render(now_ms: u64, machine: &Machine, status: &Status, journal: &Journal) -> Vec<String> {
    let mut rows = facts(now_ms, machine, status, journal);
    // Two borders and the line between the facts and the journal.
    let room = HEIGHT - 3;
    rows.truncate(room - 3);
    let last = room - rows.len();
    let skipped = journal.lines().count().saturating_sub(last);
    let mut lines: Vec<String> = journal
        .lines()
        .skip(skipped)
        .map(|line| format!("{}  {} {}", seconds(line.at_ms), line.stage, line.text))
        .collect();
    lines.resize(last, String::new());

    let title = format!(" LUC OS {} ", machine.version);
    let mut page = vec![border('┌', '┐', &title)];
    page.extend(rows.iter().map(|row| boxed(row)));
    page.push(border('├', '┤', " what happened last "));
    page.extend(lines.iter().map(|row| boxed(row)));
    page.push(border('└', '┘', ""));
    page
}

fn facts(now_ms: u64, machine: &Machine, status: &Status, journal: &Journal) -> Vec<String> {
    let name = if status.name.is_empty() {
        "(no name yet)"
    } else {
        &status.name
    };
    let mut rows = vec![
        row("node", name),
        row(
            "state",
            &format!("{}, up {}", status.state.word(), duration(now_ms)),
        ),
    ];
    if let Some(waits_for) = &status.waits_for {
        rows.push(row("waits for", waits_for));
    }
    rows.push(row(
        "manage at",
        status.url.as_deref().unwrap_or("(no address yet)"),
    ));
    for (index, address) in status.addresses.iter().take(4).enumerate() {
        rows.push(row(if index == 0 { "address" } else { "" }, address));
    }
    for (index, nic) in status.nics.iter().take(4).enumerate() {
        rows.push(row(if index == 0 { "network" } else { "" }, nic));
    }
    rows.push(row(
        "machines",
        &format!("{} VMs; KVM {}", status.vms, or_unknown(&status.kvm)),
    ));
    rows.push(row(
        "hardware",
        &format!("{}, {}", or_unknown(&machine.product), machine.memory),
    ));
    rows.push(row(
        "kernel",
        &format!("{}; watchdog {}", machine.kernel, machine.watchdog),
    ));
    rows.push(row("boot", &timeline(journal)));
    rows
}

/// The page as the bytes for a Linux console: painted in place, without flicker.
#[must_use]
pub fn paint(page: &[String], state: State) -> Vec<u8> {
    let colour = match state {
        State::Ready => "\x1b[32m",
        State::Starting | State::GoingDown => "\x1b[33m",
        State::Degraded => "\x1b[31m",
    };
    // Home, no cursor, no screen blanking.
    let mut text = String::from("\x1b[H\x1b[?25l\x1b[9;0]");
    for (index, line) in page.iter().enumerate() {
        let end = if index + 1 == page.len() { "" } else { "\r\n" };
        let start = if line.contains("│ state ") {
            colour
        } else {
            ""
        };
        // Writing can't fail on a String.
        let _ = write!(text, "{start}{line}\x1b[0m\x1b[K{end}");
    }
    text.push_str("\x1b[J");
    text.into_bytes()
}

fn timeline(journal: &Journal) -> String {
    let marks: Vec<String> = journal
        .marks()
        .iter()
        .map(|mark| format!("{} {}", mark.stage, seconds(mark.at_ms).trim_start()))
        .collect();
    marks.join(", ")
}

fn row(label: &str, text: &str) -> String {
    format!("{label:<LABEL$}{text}")
}

/// One line of the box, cut or filled to its width.
fn boxed(text: &str) -> String {
    format!("│ {} │", fitted(text, INSIDE))
}

fn border(left: char, right: char, title: &str) -> String {
    let title = console_text(title);
    let rest = WIDTH - 3 - title.chars().count().min(WIDTH - 3);
    let title: String = title.chars().take(WIDTH - 3).collect();
    format!("{left}─{title}{}{right}", "─".repeat(rest))
}

fn fitted(text: &str, width: usize) -> String {
    // A character of another width would move the border: only ASCII is sure on a text screen.
    let plain: String = console_text(text)
        .chars()
        .map(|letter| if letter.is_ascii() { letter } else { '?' })
        .take(width)
        .collect();
    format!("{plain:<width$}")
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() {
        "not known yet"
    } else {
        text
    }
}

/// `3 s`, `12 min`, `5 h 12 min`, `3 d 4 h`.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds} s"),
        () if hours == 0 => format!("{minutes} min"),
        () if days == 0 => format!("{hours} h {} min", minutes % 60),
        () => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            version: "0.0.0".into(),
            kernel: "6.12.117".into(),
            product: "QEMU Standard PC".into(),
            memory: "1 processor, 256 MiB".into(),
            watchdog: "none".into(),
        }
    }

    #[test]
    fn a_ready_node_shows_where_to_reach_it() {
        let mut journal = Journal::default();
        journal.stage(2105, "init", "LUC OS 0.0.0");
        journal.stage(3210, "ready", "http://192.0.2.7/");
        let status = Status {
            state: State::Ready,
            name: "paris-3".into(),
            addresses: vec!["192.0.2.7/24 via 192.0.2.1 on eth0".into()],
            nics: vec!["eth0 52:54:00:12:34:56 virtio_net, link up".into()],
            url: Some("http://192.0.2.7/".into()),
            waits_for: None,
            kvm: "usable".into(),
            vms: 2,
        };
        let page = render(65_000, &machine(), &status, &journal);
        let expected = [
            "┌─ LUC OS 0.0.0 ───────────────────────────────────────────────────────────────┐",
            "│ node        paris-3                                                          │",
            "│ state       ready, up 1 min                                                  │",
            "│ manage at   http://192.0.2.7/                                                │",
            "│ address     192.0.2.7/24 via 192.0.2.1 on eth0                               │",
            "│ network     eth0 52:54:00:12:34:56 virtio_net, link up                       │",
            "│ machines    2 VMs; KVM usable                                                │",
            "│ hardware    QEMU Standard PC, 1 processor, 256 MiB                           │",
            "│ kernel      6.12.117; watchdog none                                          │",
            "│ boot        init 2.105, ready 3.210                                          │",
            "├─ what happened last ─────────────────────────────────────────────────────────┤",
            "│     2.105  init LUC OS 0.0.0                                                 │",
            "│     3.210  ready http://192.0.2.7/                                           │",
        ];
        assert_eq!(page[..expected.len()], expected, "{}", page.join("\n"));
        assert_eq!(page.len(), HEIGHT);
    }

    #[test]
    fn the_page_keeps_its_size_whatever_comes_in() {
        let mut journal = Journal::default();
        for at_ms in 0..100 {
            journal.stage(
                at_ms,
                &format!("very-long-stage-{at_ms}"),
                &"ü\x1b[31m".repeat(99),
            );
        }
        let many = || {
            (0..50)
                .map(|n| format!("{n} ").repeat(60))
                .collect::<Vec<_>>()
        };
        let status = Status {
            name: "x".repeat(500),
            addresses: many(),
            nics: many(),
            waits_for: Some("y".repeat(500)),
            ..Status::default()
        };
        for page in [
            render(u64::MAX, &machine(), &status, &journal),
            render(
                0,
                &Machine::default(),
                &Status::default(),
                &Journal::default(),
            ),
        ] {
            assert_eq!(page.len(), HEIGHT);
            for line in &page {
                assert_eq!(line.chars().count(), WIDTH, "{line}");
                assert!(!line.contains(char::is_control), "{line}");
            }
        }
    }

    #[test]
    fn a_duration_is_said_in_its_two_largest_units() {
        let cases = [
            (0, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (18_720_000, "5 h 12 min"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(duration(3 * 86_400_000 + 4 * 3_600_000), "3 d 4 h");
    }
}
