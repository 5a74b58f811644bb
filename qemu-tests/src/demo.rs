//! The demonstration: two bare machines become nodes, and each runs a guest.
//!
//! Does:      PXE-boots a BIOS and a UEFI machine at the same time on one wire, creates a VM on
//!            each with the `luc` command, shows its console and its token, deletes it, and draws
//!            where the time went.
//! Does not:  take a short cut: everything goes over the wire, as an operator would do it.
//! Bounds:    two machines; `LIMIT`.
//! Trusts:    nothing: a wrong token is a failure.
//! Start at:  `run`.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use sys::signals::{Signal, Signals};

use crate::folders::RunFolder;
use crate::lan::Lan;
use crate::machine::{Boot, Firmware, Shape};
use crate::node::{GUEST, Node};
use crate::progress::{Progress, Row};
use crate::scenario::{Outcome, Problem, Scenario};
use crate::stages::{Picture, Timeline};
use crate::story::Story;
use crate::supplies::Supplies;

/// Two emulated firmwares at once on a slow host.
const LIMIT: Duration = Duration::from_secs(600);
/// A console opened before the VM's process exists is tried again this often.
const AGAIN_EVERY: Duration = Duration::from_millis(200);

/// The machines of the demonstration.
const MACHINES: [(&str, Firmware); 2] = [("seabios", Firmware::Bios), ("ovmf", Firmware::Uefi)];

/// What one machine went through.
struct Visit {
    node: Node,
    timeline: Timeline,
    console: Vec<String>,
    token: String,
}

/// Runs the demonstration. With `signals`, it then stays up until Ctrl-C.
pub fn run(
    supplies: &Supplies,
    folder: &RunFolder,
    progress: &Progress,
    signals: Option<&Signals>,
) -> Outcome {
    let (logs, sockets) = folder.scenario(0, "demo")?;
    let this = Scenario {
        name: "demo",
        promise: "two bare machines become nodes, and each runs a guest",
        limit: LIMIT,
        is_long: false,
        run: |_| Ok(()),
    };
    let story = Story::begin(&this, logs, sockets, supplies.clone(), progress.clone());
    let told = tell(&story, signals);
    if told.is_err() {
        progress.say(&story.clues(15));
    }
    told
}

fn tell(story: &Story, signals: Option<&Signals>) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let mut shapes = Vec::new();
    for (name, firmware) in MACHINES {
        shapes.push(lan.plug(Shape::new(name, firmware, Boot::Pxe))?);
    }
    let lan = &lan;
    let visits = std::thread::scope(|scope| {
        let threads: Vec<_> = shapes
            .into_iter()
            .map(|shape| scope.spawn(move || visit(story, lan, shape)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Problem::broken("a thread panicked")))
        };
        threads
            .into_iter()
            .map(join)
            .collect::<Result<Vec<Visit>, Problem>>()
    })?;
    for visit in &visits {
        print_visit(visit);
    }
    let names = visits.iter().map(|visit| visit.node.machine.name());
    let timelines = visits.iter().map(|visit| visit.timeline.clone());
    println!("where the time went, since power-on:");
    print!("{}", Picture(&names.zip(timelines).collect::<Vec<_>>()));
    match signals {
        Some(signals) => stay(&visits, signals).map_err(Problem::from),
        None => Ok(()),
    }
}

/// One machine from power-on to the end of its VM.
fn visit(story: &Story, lan: &Lan, shape: Shape) -> Result<Visit, Problem> {
    let name = shape.name.clone();
    let machine = story.power_on(shape)?;
    let node = Node::join(story, lan, machine)?;
    let row = story.row(&format!("{name} VM"));
    let mut timeline = node.timeline();

    row.stage("sending the guest's image");
    timeline.mark("image upload", node.machine.age());
    node.add_guest_image(story)?;

    let vm = format!("hello-{name}");
    let (console, token) = run_vm(story, &node, &vm, &row, &mut timeline)?;

    row.stage("stopping and deleting the VM");
    node.luc
        .run(&["vm", "stop", &vm, "--yes", "--wait", "--timeout", "120s"])?;
    timeline.mark("VM stopped", node.machine.age());
    node.delete(&[&vm])?;
    Ok(Visit {
        node,
        timeline,
        console,
        token,
    })
}

/// Creates the VM and reads its console until the token.
fn run_vm(
    story: &Story,
    node: &Node,
    vm: &str,
    row: &Row,
    timeline: &mut Timeline,
) -> Result<(Vec<String>, String), Problem> {
    row.stage("creating a VM");
    let asked = node.machine.age();
    timeline.mark("VM start", asked);
    node.create(vm, "token", &["--no-wait"])?;
    row.stage("reading its console");
    let token = guest::token(vm, &story.supplies().guest.release);
    let console = loop {
        let console = node.luc.console_since(vm, node.machine.started())?;
        match console.lines().wait_for(&token, story.left()) {
            Ok(_) => break console,
            // The VM's process did not exist yet: the command said so and ended.
            Err(early) if early.ended && early.last.is_empty() => std::thread::sleep(AGAIN_EVERY),
            Err(problem) => return Err(problem.into()),
        }
    };
    let at = |part: &str| console.lines().all_with(part).first().map(|line| line.at);
    for stage in node.vm(vm)?["timeline"].as_array().into_iter().flatten() {
        if stage["stage"] == "guest_running" {
            let after = Duration::from_millis(stage["at_ms"].as_u64().unwrap_or(0));
            timeline.mark("guest kernel", asked + after);
        }
    }
    for (stage, part) in [("guest init", guest::GUEST_LINE), ("token", token.as_str())] {
        if let Some(at) = at(part) {
            timeline.mark(stage, at);
        }
    }
    // The button works once the guest listens.
    node.wait(vm, "console~listening to")?;
    let lines = console
        .lines()
        .last(20)
        .into_iter()
        .map(|line| line.text)
        .collect();
    Ok((lines, token))
}

fn print_visit(visit: &Visit) {
    let Visit {
        node,
        console,
        token,
        ..
    } = visit;
    let name = node.machine.name();
    println!("{name}: the console of VM hello-{name} on {}", node.address);
    for line in console {
        println!("  | {line}");
    }
    println!("  token {token} is right: only this guest under this kernel could print it\n");
}

/// Leaves everything up until Ctrl-C.
fn stay(visits: &[Visit], signals: &Signals) -> io::Result<()> {
    println!("\nThe nodes stay up. Ask them from another terminal:");
    for visit in visits {
        println!("  {:<8} {}", visit.node.machine.name(), visit.node.url());
    }
    if let Some(first) = visits.first() {
        let (door, vm) = (first.node.luc.node(), "first");
        println!("  cargo luc -- --via {door} node show");
        println!("  cargo luc -- --via {door} vm create {vm} --image {GUEST} --wait");
        println!("  cargo luc -- --via {door} vm console {vm}");
    }
    println!("Ctrl-C ends them.");
    loop {
        let mut fds = [PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(problem) => return Err(problem.into()),
        }
        if is_asked_to_end(signals) {
            return Ok(());
        }
    }
}

/// Whether Ctrl-C or a request to end came; ended children are nothing to us.
fn is_asked_to_end(signals: &Signals) -> bool {
    while let Some(signal) = signals.next() {
        if matches!(signal, Signal::Interrupt | Signal::Terminate) {
            return true;
        }
    }
    false
}
