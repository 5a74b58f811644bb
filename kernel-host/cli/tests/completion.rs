//! What the shell is offered, asked the way the shell asks.
#![allow(clippy::unwrap_used)]

mod fake;
mod harness;

use harness::{file, luc};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Set in the child process that plays `luc`: its arguments, one a line.
const LINE: &str = "LUC_TEST_LINE";

/// Not a test by itself: the process that bash would start.
#[test]
fn plays_luc_for_the_shell() {
    if let Ok(line) = std::env::var(LINE) {
        drop(cli::parse(line.split('\n').map(Into::into)));
    }
}

/// Offers for the last of the words.
fn offers(node: &str, words: &[&str]) -> Vec<String> {
    let mut line = vec!["luc", "--", "luc"];
    line.extend(words);
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "plays_luc_for_the_shell", "--nocapture"])
        .env(LINE, line.join("\n"))
        .env("LUC_VIA", node)
        .env("LUC_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_IFS", "\n")
        .output()
        .unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    // The test runner's own words may share a line with the last offer.
    let own = "test plays_luc_for_the_shell ... ";
    text.lines()
        .map(|line| {
            line.split_once(own).map_or(
                line,
                |(before, after)| if before.is_empty() { after } else { before },
            )
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn names_that_exist_right_now_are_offered() {
    let node = fake::FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", b"a kernel");
    let at = format!("--via {}", node.address());
    luc(&format!("{at} image add img --kernel {}", kernel.display()));
    for vm in ["web-1", "web-2", "db"] {
        luc(&format!("{at} vm create {vm} --image img"));
    }
    let has = |words: &[&str], word: &str| offers(&node.address(), words).iter().any(|o| o == word);
    assert!(has(&["v"], "vm"));
    assert!(has(&["vm", "cre"], "create"));
    assert!(has(&["vm", "show", ""], "db"));
    assert!(has(&["vm", "console", "we"], "web-1"));
    assert!(!has(&["vm", "console", "we"], "db"));
    assert!(has(&["vm", "create", "x", "--image", ""], "img"));
    assert!(has(&["image", "show", ""], "img"));
    assert!(has(&["wait", "vm", "db", "--for", "st"], "stopped"));
    assert!(has(&["vm", "list", "-o", "y"], "yaml"));
}

#[test]
fn a_node_that_says_nothing_costs_a_second() {
    // Accepts connections in its backlog and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let before = Instant::now();
    assert!(
        offers(&address, &["vm", "show", ""])
            .iter()
            .all(|offer| offer != "db")
    );
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
}
