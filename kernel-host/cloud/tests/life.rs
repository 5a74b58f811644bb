//! The life of a VM: which state follows which event, and what the node is asked for.
#![allow(clippy::unwrap_used)]

mod world;

use cloud::{Ended, Event, Refusal, VmEvent};
use protocol::{ByteCount, Command, NewVm, Selector, VmStageName, VmState, limits};
use world::World;

use VmEvent::{Exited, FirstOutput, GuestReset, GuestShutdown, Running, TripleFault, VmmStarted};
use VmState::{Creating, Deleting, Failed, Starting, Stopped, Stopping};

fn selector(text: &str) -> Selector {
    text.parse().unwrap()
}

/// A world with a running VM `a` and nothing asked yet.
fn running() -> World {
    let mut world = World::with_image();
    world.create("a");
    world.boots("a");
    world.asked();
    world
}

#[test]
fn a_vm_goes_from_creating_over_starting_to_running() {
    let mut world = World::with_image();
    let vm = world.create("a");
    assert_eq!((vm.state, vm.starts), (Creating, 1));
    assert!(world.asked().ends_with("spawn:1"));
    world.now_ms += 20;
    world.happens("a", VmmStarted);
    assert_eq!(world.state("a"), Starting);
    world.now_ms += 30;
    world.happens("a", Running);
    world.now_ms += 50;
    world.happens("a", FirstOutput);
    world.happens("a", FirstOutput); // told twice, noted once
    let vm = world.vm("a").unwrap();
    assert_eq!(vm.state, VmState::Running);
    let steps: Vec<_> = vm
        .timeline
        .iter()
        .map(|step| (step.stage, step.at_ms))
        .collect();
    assert_eq!(
        steps,
        [
            (VmStageName::Asked, 0),
            (VmStageName::VmmStarted, 20),
            (VmStageName::GuestRunning, 50),
            (VmStageName::FirstOutput, 100),
        ]
    );
}

#[test]
fn the_launch_carries_image_and_vm_arguments() {
    let mut world = World::with_image();
    let mut new = NewVm::new("a".parse().unwrap(), "img".parse().unwrap());
    new.cmdline = "luc.nonce=1".to_owned();
    world.ask(Command::CreateVm(new)).unwrap();
    let launch = &world.launches[0];
    assert_eq!(launch.cmdline, "console=ttyS0 luc.nonce=1");
    assert!(launch.initrd.is_some());
    assert!(!launch.disk.unwrap().private);
}

/// One story per line: what happens to a running VM, and how it ends when its process does.
#[test]
fn how_a_running_vm_ends() {
    check(&[], Ended::Signal(9), Failed, "killed by signal 9");
    check(&[], Ended::Code(0), Failed, "exit code 0");
    check(
        &[GuestShutdown],
        Ended::Code(0),
        Stopped,
        "the guest shut itself down",
    );
    check(
        &[GuestShutdown],
        Ended::Signal(9),
        Stopped,
        "the guest shut itself down",
    );
    check(&[TripleFault], Ended::Code(1), Failed, "triple fault");
    check(
        &[TripleFault, GuestShutdown],
        Ended::Code(1),
        Failed,
        "triple fault",
    );
    check(
        &[GuestReset, GuestShutdown],
        Ended::Code(0),
        Stopped,
        "shut itself down",
    );
    check(&[GuestReset, Running], Ended::Signal(6), Failed, "signal 6");
    let failed = VmEvent::Failed {
        stage: "boot".to_owned(),
        reason: "no kernel".to_owned(),
    };
    check(&[failed], Ended::Code(1), Failed, "boot: no kernel");

    fn check(story: &[VmEvent], ended: Ended, state: VmState, reason: &str) {
        let mut world = running();
        for event in story {
            world.happens("a", event.clone());
        }
        let memory = world.cloud.memory().reserved;
        world.happens("a", Exited(ended));
        assert_eq!(world.state("a"), state, "{story:?}");
        assert!(
            world.reason("a").contains(reason),
            "{story:?}: {}",
            world.reason("a")
        );
        let freed = memory.checked_sub(world.cloud.memory().reserved).unwrap();
        assert_eq!(
            freed,
            ByteCount::mib(128).saturating_add(limits::VM_OVERHEAD)
        );
        // It may be started again, and runs.
        world.ask(Command::StartVm(selector("a"))).unwrap();
        assert_eq!(world.state("a"), Starting);
        world.boots("a");
    }
}

#[test]
fn a_process_that_could_not_be_made_is_a_failed_vm() {
    let mut world = World::with_image();
    world.create("a");
    world.happens(
        "a",
        Exited(Ended::NeverStarted("no more processes".to_owned())),
    );
    assert_eq!(world.state("a"), Failed);
    assert!(world.reason("a").contains("no more processes"));
}

#[test]
fn a_stop_presses_the_button_and_the_guest_decides() {
    let mut world = running();
    assert_eq!(world.stop("a", false, None), Stopping);
    assert_eq!(world.asked(), "button:1");
    world.happens("a", GuestShutdown);
    assert_eq!(world.state("a"), Stopping);
    world.exits("a");
    assert_eq!(world.state("a"), Stopped);
    assert_eq!(world.reason("a"), "");
    // Stopping what is stopped is done already.
    assert_eq!(world.stop("a", false, None), Stopped);
    assert_eq!(world.asked(), "");
}

#[test]
fn a_guest_that_ignores_the_button_runs_on_and_says_so() {
    let mut world = running();
    world.stop("a", false, None);
    world.pass(limits::POWER_BUTTON_PATIENCE_MS - 1);
    assert_eq!(world.state("a"), Stopping);
    world.pass(1);
    assert_eq!(world.state("a"), VmState::Running);
    assert!(world.reason("a").contains("ignored the power button"));
    assert_eq!(world.asked(), "button:1");
}

#[test]
fn a_guest_that_ignores_the_button_is_ended_by_force_if_asked() {
    let mut world = running();
    world.stop("a", false, Some(5_000));
    world.pass(4_999);
    assert_eq!(world.asked(), "button:1");
    world.pass(1);
    assert_eq!(world.asked(), "kill:1");
    world.happens("a", Exited(Ended::Signal(9)));
    assert_eq!(world.state("a"), Stopped);
    assert!(world.reason("a").contains("by force"));
}

#[test]
fn a_stop_by_force_kills_and_kills_again() {
    let mut world = running();
    assert_eq!(world.stop("a", true, None), Stopping);
    assert_eq!(world.asked(), "kill:1");
    world.pass(25_000);
    assert_eq!(world.asked(), "kill:1 kill:1");
    assert_eq!(world.cloud.counters().kills_repeated, 2);
    world.happens("a", Exited(Ended::Signal(9)));
    assert_eq!(world.state("a"), Stopped);
    world.pass(60_000);
    assert_eq!(world.asked(), "");
}

#[test]
fn a_monitor_that_lingers_after_shutdown_is_killed() {
    let mut world = running();
    world.happens("a", GuestShutdown);
    world.pass(10_000);
    assert_eq!(world.asked(), "kill:1");
    world.happens("a", Exited(Ended::Signal(9)));
    assert_eq!(world.state("a"), Stopped);
}

#[test]
fn a_stop_before_the_guest_runs_ends_it_at_once() {
    let mut world = World::with_image();
    world.create("a");
    world.asked();
    assert_eq!(world.stop("a", false, None), Stopping);
    assert_eq!(world.asked(), "kill:1");
    world.happens("a", Running); // was on its way
    assert_eq!(world.state("a"), Stopping);
    world.happens("a", Exited(Ended::Signal(9)));
    assert_eq!(world.state("a"), Stopped);
}

#[test]
fn a_reset_inside_the_process_runs_on() {
    let mut world = running();
    world.happens("a", GuestReset);
    assert_eq!(world.state("a"), Starting);
    world.happens("a", Running);
    assert_eq!(world.state("a"), VmState::Running);
    assert_eq!(world.vm("a").unwrap().resets, 1);
    assert_eq!(world.asked(), "");
}

#[test]
fn a_reset_that_ends_the_process_gets_a_new_one_but_not_too_fast() {
    let mut world = running();
    world.happens("a", GuestReset);
    world.exits("a");
    assert_eq!(world.state("a"), Starting);
    assert_eq!(world.asked(), "");
    world.pass(1_000);
    assert_eq!(world.asked(), "spawn:2");
    world.boots("a");
    let vm = world.vm("a").unwrap();
    assert_eq!((vm.starts, vm.resets), (2, 1));
    // A guest that ran for long is back at once.
    world.pass(5_000);
    world.happens("a", GuestReset);
    world.exits("a");
    world.pass(0);
    assert_eq!(world.asked(), "spawn:3");
}

#[test]
fn a_vm_between_two_processes_can_be_stopped_and_deleted() {
    for delete in [false, true] {
        let mut world = running();
        world.happens("a", GuestReset);
        world.exits("a");
        if delete {
            world.ask(Command::DeleteVm(selector("a"))).unwrap();
            assert!(world.vm("a").is_none());
            assert_eq!(world.asked(), "forget:a");
        } else {
            assert_eq!(world.stop("a", false, None), Stopped);
        }
        world.pass(60_000);
        assert_eq!(world.asked(), "");
    }
}

#[test]
fn a_guest_that_reboots_when_told_to_shut_down_is_stopped() {
    let mut world = running();
    world.stop("a", false, None);
    world.happens("a", GuestReset);
    assert_eq!(world.asked(), "button:1 kill:1");
    world.happens("a", Exited(Ended::Signal(9)));
    assert_eq!(world.state("a"), Stopped);
}

#[test]
fn a_reset_by_request_needs_a_running_vm() {
    let mut world = running();
    world.ask(Command::ResetVm(selector("a"))).unwrap();
    assert_eq!(world.state("a"), Starting);
    assert_eq!(world.asked(), "reset:1");
    world.happens("a", GuestReset);
    world.happens("a", Running);
    assert_eq!(world.state("a"), VmState::Running);
    world.happens("a", GuestShutdown);
    world.exits("a");
    let refused = world.ask(Command::ResetVm(selector("a"))).unwrap_err();
    assert!(matches!(
        refused,
        Refusal::WrongState { state: Stopped, .. }
    ));
    assert!(refused.advice().contains("luc vm start a"));
}

#[test]
fn a_running_vm_is_deleted_when_its_process_is_gone() {
    let mut world = running();
    world.ask(Command::DeleteVm(selector("a"))).unwrap();
    assert_eq!(world.state("a"), Deleting);
    assert_eq!(world.asked(), "kill:1");
    for event in [Running, GuestReset, TripleFault, GuestShutdown] {
        world.happens("a", event); // nothing brings it back
        assert_eq!(world.state("a"), Deleting);
    }
    world.asked();
    let starting = world.ask(Command::StartVm(selector("a")));
    assert!(matches!(
        starting,
        Err(Refusal::WrongState {
            state: Deleting,
            ..
        })
    ));
    assert!(
        world.try_create("a", ByteCount::mib(64)).is_err(),
        "the name is still taken"
    );
    world.happens("a", Exited(Ended::Signal(9)));
    assert_eq!(world.asked(), "forget:a");
    assert!(world.vm("a").is_none());
    world.create("a");
}

#[test]
fn a_stopped_vm_is_deleted_at_once() {
    let mut world = running();
    world.happens("a", GuestShutdown);
    world.exits("a");
    world.asked();
    world.ask(Command::DeleteVm(selector("a"))).unwrap();
    assert_eq!(world.asked(), "forget:a");
    assert!(world.vm("a").is_none());
}

#[test]
fn events_of_an_older_run_are_ignored_and_counted() {
    let mut world = running();
    let first = world.launches[0].clone();
    world.happens("a", GuestShutdown);
    world.exits("a");
    world.ask(Command::StartVm(selector("a"))).unwrap();
    for what in [Running, TripleFault, Exited(Ended::Code(0))] {
        world.event(Event::Vm {
            vm: first.vm,
            run: first.run,
            what,
        });
    }
    assert_eq!(world.state("a"), Starting);
    assert_eq!(world.cloud.counters().stale_events, 3);
}

#[test]
fn starting_what_runs_is_done_already_and_what_stops_must_wait() {
    let mut world = running();
    world.ask(Command::StartVm(selector("a"))).unwrap();
    assert_eq!(world.asked(), "");
    world.stop("a", false, None);
    let refused = world.ask(Command::StartVm(selector("a"))).unwrap_err();
    assert!(refused.advice().contains("luc wait vm a --for stopped"));
}

#[test]
fn memory_that_is_not_there_is_refused_with_the_numbers() {
    let mut world = World::with_image();
    world.try_create("a", ByteCount::mib(700)).unwrap();
    let refused = world.try_create("b", ByteCount::mib(700)).unwrap_err();
    let Refusal::NoCapacity {
        asked,
        free,
        capacity,
        ..
    } = &refused
    else {
        panic!("{refused}")
    };
    assert_eq!(*asked, ByteCount::mib(708));
    assert_eq!(*capacity, ByteCount::gib(1));
    assert!(*free < ByteCount::mib(316));
    assert!(world.vm("b").is_none());
    // A stopped VM gives its memory back, and must find room to start again.
    world.stop("a", true, None);
    world.exits("a");
    world.try_create("b", ByteCount::mib(700)).unwrap();
    let refused = world.ask(Command::StartVm(selector("a"))).unwrap_err();
    assert!(matches!(refused, Refusal::NoCapacity { .. }));
    assert_eq!(world.state("a"), Stopped);
    world.event(Event::Capacity(ByteCount::gib(2)));
    world.ask(Command::StartVm(selector("a"))).unwrap();
}

#[test]
fn a_private_disk_costs_its_size_until_the_vm_is_deleted() {
    let mut world = World::with_image();
    let before = world.cloud.memory().reserved;
    let mut new = NewVm::new("a".parse().unwrap(), "img".parse().unwrap());
    new.disk = protocol::DiskUse::Private;
    world.ask(Command::CreateVm(new)).unwrap();
    assert!(world.launches[0].disk.unwrap().private);
    world.stop("a", true, None);
    world.exits("a");
    assert_eq!(
        world.cloud.memory().reserved,
        before.saturating_add(ByteCount::mib(1))
    );
    world.ask(Command::DeleteVm(selector("a"))).unwrap();
    assert_eq!(world.cloud.memory().reserved, before);
}

#[test]
fn sizes_that_no_vm_can_have_are_refused() {
    let mut world = World::with_image();
    for (vcpus, memory, cmdline, what) in [
        (0, ByteCount::mib(128), "", "vcpus"),
        (9, ByteCount::mib(128), "", "vcpus"),
        (1, ByteCount::mib(47), "", "memory"),
        (1, ByteCount::gib(257), "", "memory"),
        (1, ByteCount::bytes((128 << 20) + 1), "", "memory"),
        (1, ByteCount::mib(128), "a\nb", "cmdline"),
        (1, ByteCount::mib(128), "é", "cmdline"),
        (1, ByteCount::mib(128), &"x".repeat(2040), "cmdline"), // too long with the image's
    ] {
        let mut new = NewVm::new("a".parse().unwrap(), "img".parse().unwrap());
        (new.vcpus, new.memory, new.cmdline) = (vcpus, memory, cmdline.to_owned());
        match world.ask(Command::CreateVm(new)) {
            Err(Refusal::BadValue { what: refused, .. }) => assert_eq!(refused, what),
            other => panic!("{vcpus} {memory} {cmdline}: {other:?}"),
        }
    }
    let nothing = NewVm::new("a".parse().unwrap(), "igm".parse().unwrap());
    let refused = world.ask(Command::CreateVm(nothing)).unwrap_err();
    assert!(
        refused.advice().contains("Did you mean `img`?"),
        "{}",
        refused.advice()
    );
}

#[test]
fn vms_are_found_by_name_id_and_a_start_of_the_id_that_fits_one() {
    let mut world = World::with_image();
    world.event(Event::Capacity(ByteCount::gib(4)));
    let ids: Vec<_> = (0..20)
        .map(|n| world.try_create(&format!("v{n}"), ByteCount::mib(48)))
        .map(|vm| vm.unwrap().id)
        .collect();
    let vm = world.vm("v7").unwrap();
    assert_eq!(world.vm(&vm.id.to_string()).unwrap().name, vm.name);
    let same_start = |n: usize| {
        ids.iter()
            .filter(|id| id.to_string().starts_with(&vm.id.to_string()[..n]))
            .count()
    };
    let unique = (4..35).find(|&n| same_start(n) == 1).unwrap();
    assert_eq!(world.vm(&vm.id.to_string()[..unique]).unwrap().id, vm.id);
    let twice = ids
        .iter()
        .map(|id| id.to_string()[..4].to_owned())
        .find(|start| {
            ids.iter()
                .filter(|id| id.to_string().starts_with(start))
                .count()
                > 1
        })
        .unwrap();
    let refused = world.cloud.vm(&selector(&twice)).unwrap_err();
    assert!(matches!(refused, Refusal::Ambiguous { .. }), "{refused}");
    let refused = world.cloud.vm(&selector("v77")).unwrap_err();
    assert!(refused.advice().contains("Did you mean"));
}

#[test]
fn the_table_of_vms_has_an_end() {
    let mut world = World::with_image();
    world.event(Event::Capacity(ByteCount::gib(100)));
    for n in 0..limits::VMS_MAX {
        world
            .try_create(&format!("v{n}"), ByteCount::mib(48))
            .unwrap();
    }
    let refused = world
        .try_create("one-more", ByteCount::mib(48))
        .unwrap_err();
    assert!(matches!(refused, Refusal::LimitReached { .. }));
}
