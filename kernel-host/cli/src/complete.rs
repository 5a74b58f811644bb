//! Completion in the shell, with the names that exist right now.
//!
//! Does:      answers the shell's questions from the tree of commands, and asks the node for names.
//! Bounds:    `PATIENCE`: a node that does not answer costs a person at most this.
//! Start at:  `answer_shell`.

use crate::client::{Client, NodeAddress};
use clap_complete::{
    engine::CompletionCandidate,
    env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh},
};
use protocol::problem::exit;
use std::{ffi::OsString, time::Duration};

/// Longest wait for names.
const PATIENCE: Duration = Duration::from_secs(1);

/// The variable by which the scripts below ask.
const VARIABLE: &str = "LUC_COMPLETE";

/// If a shell asks for completions: answers, and returns the exit code.
pub(crate) fn answer_shell(arguments: &[OsString]) -> Option<u8> {
    let here = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(crate::command_tree)
        .var(VARIABLE)
        .bin("luc")
        .try_complete(arguments.iter().cloned(), here.as_deref());
    match answered {
        Ok(false) => None,
        Ok(true) => Some(exit::DONE),
        Err(_) => Some(exit::FAILED), // a shell in the middle of a line is no place for errors
    }
}

/// The script that makes a shell ask.
pub(crate) fn script(shell: crate::arguments::Shell) -> std::io::Result<Vec<u8>> {
    let completer: &dyn EnvCompleter = match shell {
        crate::arguments::Shell::Bash => &Bash,
        crate::arguments::Shell::Zsh => &Zsh,
        crate::arguments::Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "luc", "luc", "luc", &mut script)?;
    Ok(script)
}

/// The node that the half-written line asks.
fn node(words: impl Iterator<Item = OsString>) -> Option<NodeAddress> {
    let words: Vec<String> = words.filter_map(|word| word.into_string().ok()).collect();
    let next = words
        .windows(2)
        .find(|pair| pair[0] == "--via")
        .map(|pair| pair[1].clone());
    let joined = || {
        words
            .iter()
            .find_map(|word| word.strip_prefix("--via=").map(str::to_owned))
    };
    let variable = || std::env::var("LUC_VIA").ok();
    let all = next.or_else(joined).or_else(variable)?;
    all.split(',').next()?.parse().ok()
}

fn client() -> Option<Client> {
    Some(Client::with_timeout(
        node(std::env::args_os())?,
        PATIENCE,
        0,
    ))
}

pub(crate) fn vm_names() -> Vec<CompletionCandidate> {
    let vms = client().and_then(|client| client.vm_page(100, None).ok());
    let vms = vms.map(|page| page.items).unwrap_or_default();
    let candidate = |vm: protocol::Vm| {
        let label = vm.label.unwrap_or_else(|| vm.name.to_string());
        CompletionCandidate::new(label).help(Some(vm.state.as_str().into()))
    };
    vms.into_iter().map(candidate).collect()
}

pub(crate) fn image_names() -> Vec<CompletionCandidate> {
    let images = client().and_then(|client| client.image_page(100, None).ok());
    let images = images.map(|page| page.items).unwrap_or_default();
    images
        .into_iter()
        .map(|image| CompletionCandidate::new(image.name.as_str()))
        .collect()
}

pub(crate) fn node_names() -> Vec<CompletionCandidate> {
    let nodes = client().and_then(|client| client.node_page(100, None, None).ok());
    let nodes = nodes.map(|page| page.items).unwrap_or_default();
    let candidate = |node: protocol::NodeEntry| {
        CompletionCandidate::new(node.name).help(Some(node.state.as_str().into()))
    };
    nodes.into_iter().map(candidate).collect()
}

pub(crate) fn site_names() -> Vec<CompletionCandidate> {
    let sites = client().and_then(|client| client.list_sites().ok());
    let sites = sites.map(|page| page.items).unwrap_or_default();
    sites
        .into_iter()
        .map(|site| CompletionCandidate::new(site.name.as_str()))
        .collect()
}

pub(crate) fn conditions() -> Vec<CompletionCandidate> {
    ["running", "stopped", "failed", "deleted", "console~"]
        .map(CompletionCandidate::new)
        .into()
}
