//! Every command in every format, every exit code, every help text.
#![allow(clippy::unwrap_used)]

mod fake;
mod harness;
mod nodes;

use fake::FakeNode;
use harness::{file, luc, luc_with, words};
use protocol::{
    EnergyAccount, EnergySource, Event, Image, Node, NodeEnergy, NodeEntry, PendingNode, Problem,
    SiteEntry, Vm, problem::exit,
};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// A node with image `img`, and the files it was made of.
fn node() -> (FakeNode, tempfile::TempDir) {
    let node = FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", b"a kernel");
    let initrd = file(&folder, "initrd", &vec![7; 3 << 20]);
    let ran = luc(&format!(
        "--via {} image add img --kernel {} --initrd {} --cmdline console=ttyS0",
        node.address(),
        kernel.display(),
        initrd.display()
    ));
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
    (node, folder)
}

const FORMATS: [&str; 6] = ["table", "wide", "json", "ndjson", "yaml", "name"];

/// What a command's answer must parse as.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    Vm,
    Vms,
    Image,
    Images,
    Node,
    NodeEntry,
    NodeEntries,
    SiteEntries,
    PendingNode,
    PendingNodes,
    Events,
    Energy,
    Account,
    Accounts,
    Sources,
    /// The same bytes in every format.
    Raw,
}

/// Every command, how to call it, and what it answers, in an order that works on one node.
/// `{}` is a fresh name, `K` a kernel file, `D` a folder, `T` a token.
const CALLS: &[(&str, &str, Answers)] = &[
    ("vm create", "vm create {} --image img --wait", Answers::Vm),
    ("vm list", "vm list", Answers::Vms),
    ("vm show", "vm show keep", Answers::Vm),
    ("vm console", "vm console keep --for hello", Answers::Raw),
    ("vm log", "vm log keep", Answers::Raw),
    ("vm stop", "vm stop keep --force --wait", Answers::Vm),
    ("vm start", "vm start keep --wait", Answers::Vm),
    ("vm reset", "vm reset keep --wait", Answers::Vm),
    ("vm delete", "vm delete doomed --yes --wait", Answers::Vms),
    ("image add", "image add {} --kernel K", Answers::Image),
    ("image list", "image list", Answers::Images),
    ("image show", "image show img", Answers::Image),
    ("image delete", "image delete doomed --yes", Answers::Images),
    ("node show", "node show", Answers::Node),
    ("node list", "node list", Answers::NodeEntries),
    ("node pending", "node pending", Answers::PendingNodes),
    (
        "node approve",
        "node approve ab12-cd34",
        Answers::PendingNode,
    ),
    (
        "node remove",
        "node remove doomed --yes",
        Answers::NodeEntry,
    ),
    ("site list", "site list", Answers::SiteEntries),
    ("events", "events", Answers::Events),
    ("energy now", "energy now", Answers::Energy),
    ("energy vm", "energy vm keep", Answers::Account),
    ("energy self", "energy self", Answers::Accounts),
    ("energy sources", "energy sources", Answers::Sources),
    ("wait vm", "wait vm keep --for running", Answers::Vm),
    ("wait node", "wait node", Answers::Node),
    (
        "cluster init",
        "cluster init --name demo --out D/keys",
        Answers::Raw,
    ),
    (
        "cluster show",
        "cluster show D/keys/cluster.toml",
        Answers::Raw,
    ),
    (
        "token create",
        "token create --key D/keys/cluster.key --site lyon",
        Answers::Raw,
    ),
    ("token show", "token show T", Answers::Raw),
    (
        "cluster revoke",
        "cluster revoke --key D/keys/cluster.key --node node-3f2ac9d0e1b24c5d8e9fa0b1c2d3e4f5",
        Answers::Raw,
    ),
    (
        "cluster admit",
        "cluster admit --key D/keys/cluster.key --site lyon \
         --machine machine-000102030405060708090a0b0c0d0e0f",
        Answers::Raw,
    ),
    (
        "cluster retire",
        "cluster retire --key D/keys/cluster.key --site lyon",
        Answers::Raw,
    ),
    ("cluster tell", "cluster tell W", Answers::Raw),
    ("completion", "completion bash", Answers::Raw),
    ("node reboot", "node reboot --yes --wait", Answers::Node),
    ("node poweroff", "node poweroff --yes --wait", Answers::Node),
    ("vmm run", "", Answers::Raw), // answered by the monitor, not here
];

/// A token that some cluster made once.
const TOKEN: &str = include_str!("../../identity/tests/golden/token.v1");

/// Something that the owner of some cluster signed.
fn word() -> String {
    use identity::{publication::Word, revocation, secret};
    let root = secret::SecretKey::from_seed(&secret::Seed::new([4; 32]));
    let fields = revocation::RevocationFields {
        target: revocation::Target::Node(protocol::NodeId::from_bytes([7; 16])),
        since_s: None,
        spares: protocol::peer::admission::Few::default(),
        made_s: 1,
        reason: protocol::peer::capped::Capped::default(),
    };
    let authority = revocation::Authority::Root(root.public());
    Word::Revocation(revocation::Revocation::sign(fields, authority, &root)).to_string()
}

#[test]
fn every_command_is_in_the_walk() {
    let mut leaves = BTreeSet::new();
    collect_leaves(&cli::command_tree(), String::new(), &mut leaves);
    let called: BTreeSet<String> = CALLS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(leaves, called);
}

fn collect_leaves(command: &clap::Command, path: String, leaves: &mut BTreeSet<String>) {
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let path = format!("{path} {}", sub.get_name()).trim().to_owned();
        if sub.has_subcommands() {
            collect_leaves(sub, path, leaves);
        } else {
            leaves.insert(path);
        }
    }
}

#[test]
fn every_command_speaks_every_format() {
    for format in FORMATS {
        let (node, folder) = node();
        nodes::join(&node);
        let at = format!("--via {}", node.address());
        let kernel = file(&folder, "other", b"another kernel");
        for vm in ["keep", "doomed"] {
            let made = luc(&format!("{at} vm create {vm} --image img --wait"));
            assert_eq!(made.code, exit::DONE, "{made:?}");
        }
        luc(&format!(
            "{at} image add doomed --kernel {}",
            kernel.display()
        ));
        for (name, line, answers) in CALLS.iter().filter(|(_, line, _)| !line.is_empty()) {
            let line = line
                .replace("{}", "fresh")
                .replace(" D/", &format!(" {}/", folder.path().display()))
                .replace(" T", &format!(" {TOKEN}"))
                .replace(" W", &format!(" {}", word()))
                .replace(" K", &format!(" {}", kernel.display()));
            let line = format!("{at} {line} -o {format}");
            let ran = luc(&line);
            assert_eq!(ran.code, exit::DONE, "{line}: {ran:?}");
            assert!(!ran.output.is_empty(), "{line}: nothing on stdout");
            assert!(!ran.output.contains('\x1b'), "{line}: colour in a pipe");
            check_format(name, format, *answers, &ran.output);
        }
    }
}

fn check_format(name: &str, format: &str, answers: Answers, output: &str) {
    match answers {
        Answers::Vm => check_one::<Vm>(name, format, output),
        Answers::Image => check_one::<Image>(name, format, output),
        Answers::Energy => check_one::<NodeEnergy>(name, format, output),
        Answers::Account => check_one::<EnergyAccount>(name, format, output),
        Answers::Accounts => check_list::<EnergyAccount>(name, format, output),
        Answers::Sources => check_list::<EnergySource>(name, format, output),
        Answers::Node => check_one::<Node>(name, format, output),
        Answers::NodeEntry => check_one::<NodeEntry>(name, format, output),
        Answers::NodeEntries => check_list::<NodeEntry>(name, format, output),
        Answers::SiteEntries => check_list::<SiteEntry>(name, format, output),
        Answers::PendingNode => check_one::<PendingNode>(name, format, output),
        Answers::PendingNodes => check_list::<PendingNode>(name, format, output),
        Answers::Events => check_list::<Event>(name, format, output),
        Answers::Vms => check_list::<Vm>(name, format, output),
        Answers::Images => check_list::<Image>(name, format, output),
        Answers::Raw => {}
    }
}

fn check_one<T: DeserializeOwned>(name: &str, format: &str, output: &str) {
    match format {
        "json" => drop(serde_json::from_str::<T>(output).expect(name)),
        "yaml" => drop(serde_yaml_ng::from_str::<T>(output).expect(name)),
        "ndjson" => {
            assert_eq!(output.lines().count(), 1, "{name}");
            drop(serde_json::from_str::<T>(output).expect(name));
        }
        "name" => check_names(name, output, 1),
        _ => check_aligned(name, output),
    }
}

fn check_list<T: DeserializeOwned>(name: &str, format: &str, output: &str) {
    match format {
        "json" => drop(serde_json::from_str::<Vec<T>>(output).expect(name)),
        "yaml" => drop(serde_yaml_ng::from_str::<Vec<T>>(output).expect(name)),
        "ndjson" => output.lines().for_each(|line| {
            drop(serde_json::from_str::<T>(line).expect(name));
        }),
        "name" => check_names(name, output, output.lines().count()),
        _ => check_aligned(name, output),
    }
}

fn check_names(name: &str, output: &str, count: usize) {
    assert_eq!(output.lines().count(), count, "{name}");
    for line in output.lines() {
        assert!(line.parse::<protocol::Name>().is_ok(), "{name}: {line}");
    }
}

/// A table: a heading in capitals and rows; or a card: keys and values. No trailing blanks.
fn check_aligned(name: &str, output: &str) {
    assert!(output.ends_with('\n'), "{name}");
    assert!(
        output
            .lines()
            .all(|line| !line.is_empty() && line.trim_end() == line),
        "{name}"
    );
}

#[test]
fn every_help_text_has_an_example_that_parses() {
    let mut checked = 0;
    check_help(&cli::command_tree(), "luc", &mut checked);
    assert!(checked > 25, "{checked}");
}

fn check_help(command: &clap::Command, path: &str, checked: &mut usize) {
    let line = format!("{path} --help");
    let ran = luc(line.strip_prefix("luc ").unwrap());
    assert_eq!(ran.code, exit::DONE, "{line}");
    assert_eq!(ran.errors, "", "{line}");
    let examples: Vec<&str> = ran
        .output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Example: "))
        .collect();
    assert!(
        !examples.is_empty(),
        "{line} has no example:\n{}",
        ran.output
    );
    assert!(
        ran.output.lines().all(|line| line.chars().count() <= 100),
        "{line} is too wide"
    );
    for example in examples {
        let example = example.split(['|', '<']).next().unwrap();
        if let Some(example) = example.trim().strip_prefix("luc ") {
            let parsed = clap_parses(example);
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
            *checked += 1;
        }
    }
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        check_help(sub, &format!("{path} {}", sub.get_name()), checked);
    }
}

fn clap_parses(line: &str) -> Result<(), String> {
    use clap::Parser;
    cli::Arguments::try_parse_from(words(line))
        .map(drop)
        .map_err(|error| error.to_string())
}

#[test]
#[rustfmt::skip] // keeps the columns
fn each_exit_code_means_one_thing() {
    let (node, _folder) = node();
    let at = format!("--via {}", node.address());
    luc(&format!("{at} vm create a --image img --wait"));
    //            arguments                                   exit               what stderr says
    check(&at,   "vm show a",                                 exit::DONE,        "");
    check(&at,   "vm create c --image img --cmdline crash --wait", exit::FAILED, "triple fault");
    check(&at,   "vm craete x",                               exit::USAGE,       "'create'");
    check(&at,   "vm create x",                               exit::USAGE,       "--image");
    check(&at,   "vm create X --image img",                   exit::USAGE,       "`X` can't stand in a name");
    check(&at,   "vm create x --image img --memory 128M",     exit::USAGE,       "write MiB (of 1024)");
    check(&at,   "vm create x --image img --memory 100KiB",   exit::USAGE,       "Give it 48MiB to 256GiB");
    check(&at,   "vm create x --image img --vcpus 9",         exit::USAGE,       "1..=8");
    check(&at,   "vm list --columns nmae",                    exit::USAGE,       "Did you mean `name`?");
    check(&at,   "vm list --columns name -o json",            exit::USAGE,       "--columns is for tables");
    check(&at,   "vm delete a",                               exit::USAGE,       "Add --yes");
    check(&at,   "vm show b",                                 exit::NOT_FOUND,   "Did you mean `a`?");
    check(&at,   "vm create x --image igm",                   exit::NOT_FOUND,   "Did you mean `img`?");
    check(&at,   "vm create a --image img",                   exit::CONFLICT,    "exists already");
    check(&at,   "image delete img --yes",                    exit::CONFLICT,    "is used by a");
    check(&at,   "vm create x --image img --memory 2GiB",     exit::NO_CAPACITY, "needs 2056MiB of memory; ");
    check(&at,   "wait vm nobody --timeout 100ms",            exit::TIMEOUT,     "there is no VM `nobody` yet");
    check(&at,   "wait vm a --for stopped --timeout 100ms",   exit::TIMEOUT,     "VM `a` is running");
    check(&at,   "vm delete a --dry-run",                     exit::WOULD_CHANGE, "nothing was changed");
    check(&at,   "image delete img --dry-run",                exit::WOULD_CHANGE, "nothing was changed");
    check(&at,   "node poweroff --dry-run",                   exit::WOULD_CHANGE, "ends 1 running VMs");
    check("",    "vm list",                                   exit::USAGE,       "LUC_VIA");
    check("--via not/an/address", "vm list",                 exit::USAGE,       "192.0.2.7:8080");
    check("--via 127.0.0.1:1",    "vm list",                 exit::UNREACHABLE, "No answer from node 127.0.0.1:1");

    fn check(at: &str, line: &str, code: u8, told: &str) {
        let ran = luc(&format!("{at} {line}"));
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        assert!(ran.errors.contains(told), "{line}: {}", ran.errors);
        assert!(code == exit::DONE || ran.output.is_empty(), "{line}: {}", ran.output);
    }
}

#[test]
fn a_limit_is_exit_code_five() {
    let (node, folder) = node();
    let kernel = file(&folder, "k", b"a kernel");
    let at = format!("--via {} image add", node.address());
    for n in 1..protocol::limits::IMAGES_MAX {
        assert_eq!(
            luc(&format!("{at} i{n} --kernel {} -q", kernel.display())).code,
            exit::DONE
        );
    }
    let ran = luc(&format!("{at} more --kernel {}", kernel.display()));
    assert_eq!(ran.code, exit::REFUSED, "{ran:?}");
}

#[test]
fn an_error_is_also_an_object() {
    let (node, _folder) = node();
    let line = format!("--via {} vm show nobody -o", node.address());
    let json = luc(&format!("{line} json"));
    let problem: Problem = serde_json::from_str(&json.errors).unwrap();
    assert_eq!(problem.code, protocol::Code::NotFound);
    assert!(problem.request_id.is_some());
    assert_eq!(json.output, "");
    let yaml: Problem = serde_yaml_ng::from_str(&luc(&format!("{line} yaml")).errors).unwrap();
    assert_eq!(yaml.code, problem.code);
    for line in ["vm lst -o json", "vm lst --output=json", "vm lst -ojson"] {
        let wrong: Problem = serde_json::from_str(&luc(line).errors).unwrap();
        assert_eq!(
            (wrong.code, wrong.code.exit()),
            (protocol::Code::BadRequest, exit::USAGE)
        );
        assert!(
            wrong.detail.contains("'lst'") && wrong.advice.contains("'list'"),
            "{wrong:?}"
        );
    }
    let told = luc(&format!("{line} table")).errors;
    for word in [
        "error:   There is no VM `nobody`",
        "advice:  ",
        "safe:    Nothing was changed",
        "request: fake",
    ] {
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn deleting_shows_first_and_asks_a_person() {
    let (node, _folder) = node();
    let at = format!("--via {}", node.address());
    luc(&format!("{at} vm create a --image img --wait"));
    let looked = luc(&format!("{at} vm delete a --dry-run"));
    assert!(
        looked.errors.contains("vm-") && looked.errors.contains("running"),
        "{looked:?}"
    );
    for (typed, code, gone) in [
        ("n\n", exit::FAILED, false),
        ("", exit::FAILED, false),
        ("y\n", exit::DONE, true),
    ] {
        let (read, write) = std::io::pipe().unwrap();
        {
            use std::io::Write;
            let mut write = write;
            write.write_all(typed.as_bytes()).unwrap();
        }
        let ran = luc_with(&format!("{at} vm delete a --wait"), |streams| {
            streams.input = Some(read.into());
            streams.input_is_terminal = true;
            streams.errors_is_terminal = true;
        });
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.errors.contains("Delete VM `a`? [y/N]"), "{ran:?}");
        let there = luc(&format!("{at} vm show a")).code;
        assert_eq!(there == exit::NOT_FOUND, gone, "{typed:?}");
    }
}

#[test]
fn a_lost_answer_does_nothing_twice() {
    let (node, _folder) = node();
    let at = format!("--via {}", node.address());
    node.with_faults(|faults| faults.lost_answers = 1);
    let ran = luc(&format!("{at} vm create a --image img --wait"));
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
    let posts = node
        .requests()
        .iter()
        .filter(|request| *request == "POST /v1/vms")
        .count();
    assert_eq!(posts, 2);
    assert_eq!(luc(&format!("{at} vm list -o name")).output, "a\n");
    node.with_faults(|faults| faults.lost_answers = 1);
    assert_eq!(
        luc(&format!("{at} vm delete a --yes --wait")).code,
        exit::DONE
    );
}

#[test]
fn a_broken_upload_goes_on_where_it_was() {
    let node = FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", &vec![1; 5 << 20]);
    let line = format!(
        "--via {} image add img --kernel {}",
        node.address(),
        kernel.display()
    );
    node.with_faults(|faults| faults.lost_pieces = 7);
    let ran = luc(&line);
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
    node.requests();
    // The same again: nothing is sent, and that is fine.
    let again = luc(&line);
    assert_eq!(again.code, exit::DONE, "{again:?}");
    assert!(
        again.errors.contains("the node has it already"),
        "{again:?}"
    );
    assert!(
        node.requests()
            .iter()
            .all(|request| !request.starts_with("PUT"))
    );
    // Too many losses in a row are an error that says how to go on.
    let other = file(&folder, "other", &vec![2; 5 << 20]);
    node.with_faults(|faults| faults.lost_pieces = 100);
    let ran = luc(&format!(
        "--via {} image add x --kernel {}",
        node.address(),
        other.display()
    ));
    assert_eq!(ran.code, exit::UNREACHABLE);
    assert!(ran.errors.contains("goes on from there"), "{ran:?}");
}

#[test]
fn files_that_can_not_be_sent_are_named() {
    let node = FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    let at = format!("--via {} image add x --kernel", node.address());
    let ran = luc(&format!("{at} /nowhere/vmlinuz"));
    assert_eq!(ran.code, exit::FAILED);
    assert!(
        ran.errors
            .contains("The kernel /nowhere/vmlinuz can't be read"),
        "{ran:?}"
    );
    let ran = luc(&format!("{at} {}", file(&folder, "empty", b"").display()));
    assert!(ran.errors.contains("is empty"), "{ran:?}");
    let ran = luc(&format!("{at} {}", folder.path().display()));
    assert_eq!(ran.code, exit::FAILED, "{ran:?}");
}

#[test]
fn waits_see_what_comes_and_what_will_not() {
    let (node, _folder) = node();
    let at = format!("--via {}", node.address());
    let later = {
        let at = at.clone();
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            luc(&format!("{at} vm create late --image img --cmdline token"))
        })
    };
    let ran = luc(&format!(
        "{at} wait vm late --for console~token --timeout 20s"
    ));
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
    assert_eq!(later.join().unwrap().code, exit::DONE);
    let ran = luc(&format!(
        "{at} vm create stubborn --image img --cmdline stubborn --wait"
    ));
    assert_eq!(ran.code, exit::DONE);
    let ran = luc(&format!("{at} vm stop stubborn --wait --timeout 300ms"));
    assert_eq!(ran.code, exit::TIMEOUT, "{ran:?}");
    let ran = luc(&format!("{at} vm stop stubborn --force-after 50ms --wait"));
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
    assert!(ran.output.contains("stopped"), "{ran:?}");
    let ran = luc(&format!("{at} wait vm stubborn --for console~never"));
    assert_eq!(ran.code, exit::FAILED, "{ran:?}");
    assert!(
        ran.errors.contains("it will not be console~never"),
        "{ran:?}"
    );
    node.with_faults(|faults| faults.not_ready = 3);
    let ran = luc(&format!("{at} wait node -v"));
    assert_eq!(ran.code, exit::DONE);
    assert!(ran.errors.contains("waiting for an address"), "{ran:?}");
}

#[test]
fn ids_and_their_starts_point_at_vms() {
    let (node, _folder) = node();
    let at = format!("--via {}", node.address());
    luc(&format!("{at} vm create a --image img"));
    let vm: Vm = serde_json::from_str(&luc(&format!("{at} vm show a -o json")).output).unwrap();
    for selector in [vm.id.to_string(), vm.id.short()] {
        assert_eq!(
            luc(&format!("{at} vm show {selector} -o name")).output,
            "a\n"
        );
    }
}

#[test]
fn tables_show_the_columns_asked_for() {
    let (node, _folder) = node();
    let at = format!("--via {}", node.address());
    luc(&format!("{at} vm create a --image img --wait"));
    let ran = luc(&format!("{at} vm list --columns state,name"));
    assert_eq!(ran.output, "STATE    NAME\nrunning  a\n");
    let ran = luc_with(&format!("{at} vm list --columns state"), |streams| {
        streams.colour = true
    });
    assert_eq!(ran.output, "STATE\n\x1b[32mrunning\x1b[0m\n");
    let ran = luc(&format!("{at} vm list"));
    let row = ran.output.lines().nth(1).unwrap();
    assert!(row.ends_with(" s  now"), "an age, first-hand: {ran:?}");
}

#[test]
fn a_terminal_waits_and_shows_progress_and_a_pipe_does_neither() {
    let (node, folder) = node();
    let at = format!("--via {}", node.address());
    let person = |streams: &mut cli::Streams| {
        (streams.output_is_terminal, streams.errors_is_terminal) = (true, true);
    };
    let big = file(&folder, "big", &vec![3; 4 << 20]);
    let line = format!("{at} image add big --kernel {}", big.display());
    let ran = luc_with(&line, person);
    assert!(
        ran.errors.contains(" %") && ran.errors.contains("of 4 MiB"),
        "{ran:?}"
    );
    assert!(!ran.output.contains('%'), "{ran:?}");
    let ran = luc_with(&format!("{at} vm create a --image img"), person);
    assert!(ran.output.contains("running"), "{ran:?}");
    assert!(ran.errors.contains("waiting: VM `a` is "), "{ran:?}");
    let ran = luc_with(
        &format!("{at} vm create b --image img --no-wait -q"),
        person,
    );
    assert!(
        ran.output.contains("creating") && ran.errors.is_empty(),
        "{ran:?}"
    );
    let ran = luc(&format!("{at} vm create c --image img"));
    assert!(
        ran.output.contains("creating") && ran.errors.is_empty(),
        "{ran:?}"
    );
}

#[test]
fn completion_scripts_exist_for_each_shell() {
    for (shell, word) in [
        ("bash", "complete"),
        ("zsh", "#compdef luc"),
        ("fish", "complete"),
    ] {
        let ran = luc(&format!("completion {shell}"));
        assert_eq!(ran.code, exit::DONE);
        assert!(
            ran.output.contains(word) && ran.output.contains("LUC_COMPLETE"),
            "{ran:?}"
        );
    }
    assert_eq!(luc("completion tcsh").code, exit::USAGE);
}

#[test]
fn the_monitors_options_are_handed_back() {
    let line = "vmm run --kernel k --initrd i --disk a --disk b --disk-read-only c --memory 64MiB";
    match cli::parse(words(line)) {
        cli::Invocation::VmmRun(options) => {
            assert_eq!(options.disks.len(), 2);
            assert_eq!(options.read_only_disks.len(), 1);
            assert_eq!(options.memory, protocol::ByteCount::mib(64));
            assert_eq!(options.vcpus, 1);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        cli::parse(words("vm list")),
        cli::Invocation::Command(_)
    ));
}

#[test]
fn what_a_node_says_can_not_steer_the_terminal() {
    let (node, _folder) = node();
    let at = format!("--via {}", node.address());
    luc(&format!("{at} vm create a --image img --wait"));
    let (stage, reason) = ("boot".to_owned(), "\x1b[2J\x07gone\u{202e}".to_owned());
    node.happens("a", cloud::VmEvent::Failed { stage, reason });
    for line in [
        "vm show a",
        "vm list -o wide",
        "wait vm a",
        "vm delete a --dry-run",
    ] {
        let ran = luc(&format!("{at} {line} --timeout 1s"));
        let all = format!("{}{}", ran.output, ran.errors);
        assert!(
            !all.contains(['\x1b', '\x07', '\u{202e}']),
            "{line}: {all:?}"
        );
    }
}
