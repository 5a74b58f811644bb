//! The ledger and its threads: bugs that other accountants had in public, numbered as families.
#![allow(clippy::unwrap_used)]

use energy::accountant::{Accountant, Machine, Tick};
use energy::fusion::Reason;
use energy::ledger::{Account, BadCheckpoint, Claim, DaySheet, Interval, Ledger, Service};
use energy::ledger::{Slice, Slices, Topology, Total};
use energy::meter::{Class, Reading, SECOND, Uptime, Value, Zone};
use protocol::{Microjoules, Microwatts, NodeId, VmId};

const W: u64 = 1_000_000;

fn vm(number: u8) -> VmId {
    VmId::from_bytes([number; 16])
}

fn account(number: u8) -> Account {
    Account::Vm(vm(number))
}

fn thread(number: u8, thread: u32, began: u64, cpu_ns: u64) -> Slice {
    Slice {
        account: account(number),
        thread,
        began,
        cpu_ns,
        processor: 0,
    }
}

fn plain() -> Topology {
    Topology {
        siblings: vec![None; 4],
    }
}

/// A machine of four processors with a platform meter.
struct Rig {
    accountant: Accountant,
    now: u64,
    busy_ns: u64,
}

impl Rig {
    fn new(ledger: Ledger) -> Self {
        let machine = Machine {
            topology: plain(),
            threads: 4,
            idle_guess: Microwatts::from_watts(40),
        };
        Self {
            accountant: Accountant::new(machine, ledger),
            now: SECOND,
            busy_ns: 0,
        }
    }

    fn second(&mut self, watts: u64, slices: &[Slice], totals: &[Total], vms: &[(Account, u32)]) {
        self.now += SECOND;
        let spent = Microjoules(watts * W);
        let value = Value::Counter {
            spent,
            over_ns: SECOND,
        };
        let reading = [Reading::new(Zone::Platform, Class::Rapl, value)];
        self.accountant
            .fusion
            .told(Uptime(self.now), 0, SECOND, &reading);
        self.tick(slices, totals, vms);
    }

    fn tick(&mut self, slices: &[Slice], totals: &[Total], reserved: &[(Account, u32)]) {
        self.accountant.tick(&Tick {
            now: Uptime(self.now),
            began_clock: self.now,
            slices,
            totals,
            reserved,
            busy_ns: self.busy_ns,
            model: Microwatts::from_watts(77),
            model_class: Class::Guess,
        });
        let ledger = &self.accountant.ledger;
        let sum: u64 = ledger.rows().map(|(_, row)| row.total().0).sum();
        assert_eq!(sum, ledger.host().0, "the sum is the host");
    }

    fn row(&self, account: Account) -> (u64, u64) {
        let row = self.accountant.ledger.row(account);
        (row.active.0, row.idle.0)
    }
}

/// 13: threads come and go by the hundred, their processes' totals run on, and the sum holds; no
/// VM gets more than the host drew.
#[test]
fn the_sum_holds_while_threads_churn() {
    let mut rig = Rig::new(Ledger::new());
    let mut used = [0_u64; 3];
    for second in 0..300_u64 {
        let mut slices = Vec::new();
        for number in 0..3_u8 {
            used[usize::from(number)] += SECOND / (2 + u64::from(number));
            for nth in 0..u32::try_from(second % 40).unwrap() {
                let id = nth + 1000 * u32::try_from(second % 7).unwrap();
                slices.push(thread(number, id, rig.now, 1_000_000 * (second % 5)));
            }
        }
        rig.busy_ns += SECOND * 2;
        let total = |number: u8| Total {
            account: account(number),
            began: 0,
            cpu_ns: used[usize::from(number)],
        };
        let totals = [total(0), total(1), total(2)];
        rig.second(
            40 + second % 60,
            &slices,
            &totals,
            &[(account(0), 1), (account(1), 2)],
        );
    }
    let host = rig.accountant.ledger.host().0;
    for number in 0..3 {
        let (active, idle) = rig.row(account(number));
        assert!(active > 0 && active + idle < host);
    }
}

/// 14: ten idle VMs share one idle machine; they are not charged it ten times.
#[test]
fn ten_idle_vms_pay_for_one_idle_machine() {
    let mut rig = Rig::new(Ledger::new());
    let vms: Vec<_> = (0..10).map(|number| (account(number), 1)).collect();
    for _ in 0..101 {
        rig.second(40, &[], &[], &vms);
    }
    let paid: u64 = (0..10).map(|number| rig.row(account(number)).1).sum();
    assert_eq!(
        paid,
        100 * 40 * W,
        "four processors sold as ten: nothing is unsold"
    );
    assert_eq!(rig.row(Account::Unsold), (0, 0));
    let mut alone = Rig::new(Ledger::new());
    for _ in 0..101 {
        alone.second(40, &[], &[], &[(account(1), 1)]);
    }
    assert_eq!(alone.row(account(1)).1, 100 * 10 * W);
    assert_eq!(alone.row(Account::Unsold).1, 100 * 30 * W);
}

/// 15: a thread's last slice is in its VM's total and is charged once; its number, given again,
/// begins at zero; a VM that could not be read for a moment is not charged twice.
#[test]
fn last_slices_are_charged_once() {
    let mut slices = Slices::default();
    let total = |cpu_ns| {
        [Total {
            account: account(1),
            began: 10,
            cpu_ns,
        }]
    };
    let mut looked = 50;
    let mut take = |threads: &[Slice], totals: &[Total]| {
        let used = slices.take(&plain(), SECOND, looked, threads, totals);
        looked += 5;
        used.get(&account(1)).map_or(0, |used| used.cpu_ns)
    };
    assert_eq!(
        take(&[thread(1, 7, 10, 500)], &total(900)),
        0,
        "the first look only begins"
    );
    assert_eq!(take(&[thread(1, 7, 10, 600)], &total(1000)), 100);
    // It ended after 50 more; the total knows.
    assert_eq!(take(&[], &total(1050)), 50);
    assert_eq!(take(&[], &total(1050)), 0);
    // Number 7 again, begun since then: all of it is new.
    assert_eq!(take(&[thread(1, 7, 71, 30)], &total(1080)), 30);
    // Unreadable for a moment, then back.
    assert_eq!(take(&[], &[]), 0);
    assert_eq!(
        take(&[thread(1, 7, 71, 40)], &total(1090)),
        10,
        "not its whole life again"
    );
    // Started again: a new counter.
    let again = [Total {
        account: account(1),
        began: 70,
        cpu_ns: 25,
    }];
    assert_eq!(take(&[], &again), 25);
}

/// 4 and 10: where counters were lost sight of a model fills in, and the row's bar grows.
#[test]
fn a_gap_is_filled_by_the_model_with_its_wide_bar() {
    let mut rig = Rig::new(Ledger::new());
    rig.second(40, &[], &[], &[]);
    rig.second(40, &[], &[], &[]);
    let reason = |rig: &Rig| rig.accountant.last().map(|last| last.host.reason);
    assert_eq!(reason(&rig), Some(Reason::Platform));
    let before = rig.accountant.ledger.row(Account::Unsold).sigma.0;
    assert_eq!(before, 40 * W * 6 / 100);
    rig.now += 1200 * SECOND;
    let gap = Value::Gap {
        over_ns: 1200 * SECOND,
    };
    let gap = [Reading::new(Zone::Platform, Class::Rapl, gap)];
    rig.accountant.fusion.told(Uptime(rig.now), 0, SECOND, &gap);
    rig.tick(&[], &[], &[]);
    assert_eq!(reason(&rig), Some(Reason::Gap));
    assert_eq!(rig.accountant.fusion.gaps, 1);
    assert_eq!(rig.accountant.ledger.host().0, (40 + 1200 * 77) * W);
    let unknown = rig.accountant.ledger.row(Account::Unknown);
    assert!(
        unknown.sigma.0 * 100 >= unknown.total().0 * 30,
        "{unknown:?}"
    );
}

#[test]
fn totals_go_on_over_restarts_in_a_new_epoch() {
    let mut rig = Rig::new(Ledger::new());
    let mut last = 0;
    for restart in 0..4 {
        for second in 0..20_u64 {
            rig.busy_ns += SECOND;
            let cpu_ns = second * SECOND;
            let totals = [Total {
                account: account(1),
                began: 5,
                cpu_ns,
            }];
            rig.second(90, &[], &totals, &[(account(1), 2)]);
            let (active, idle) = rig.row(account(1));
            assert!(active + idle >= last, "never less than before");
            last = active + idle;
        }
        let ledger = &rig.accountant.ledger;
        assert_eq!(ledger.epoch(), restart + 1);
        let kept = ledger.checkpoint();
        rig = Rig::new(Ledger::restore(&kept).unwrap());
    }
    assert!(last > 0);
}

#[test]
fn a_damaged_checkpoint_is_refused_whole() {
    let mut rig = Rig::new(Ledger::new());
    rig.second(90, &[], &[], &[(account(1), 2)]);
    rig.second(90, &[], &[], &[(account(1), 2)]);
    let good = rig.accountant.ledger.checkpoint();
    assert!(Ledger::restore(&good).is_ok());
    let mut refused = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        // A flip in a name or a bar is not seen here; one in an amount is.
        refused += usize::from(Ledger::restore(&bad).is_err());
        assert!(Ledger::restore(&good[..at]).is_err(), "cut at {at}");
    }
    assert!(refused > good.len() / 3);
    assert!(matches!(
        Ledger::restore(b"x"),
        Err(BadCheckpoint::Damaged { .. })
    ));
}

#[test]
fn a_day_is_told_once_and_whole() {
    let node = NodeId::from_bytes([9; 16]);
    let mut ledger = Ledger::new();
    let charge = |ledger: &mut Ledger, host: u64| {
        let interval = Interval {
            host: Microjoules(host),
            idle: Microjoules(host / 2),
            unclaimed: 10,
            capacity: 4,
        };
        let claims = [
            (
                account(1),
                Claim {
                    weight: 30,
                    reserved: 2,
                },
            ),
            (
                Account::Service(Service::Node),
                Claim {
                    weight: 5,
                    reserved: 0,
                },
            ),
        ];
        let _ = ledger.charge(&interval, 20_000, &claims);
    };
    let sum = |sheet: &DaySheet| sheet.rows.iter().map(|row| row.row.total().0).sum::<u64>();
    assert_eq!(ledger.day_is(0, node), None, "no clock, no day");
    assert_eq!(
        ledger.day_is(20_000, node),
        None,
        "the first day only begins"
    );
    charge(&mut ledger, 1_000_003);
    assert_eq!(ledger.day_is(20_000, node), None);
    assert_eq!(ledger.day_is(19_999, node), None, "a clock that goes back");
    ledger.close(vm(1));
    let sheet = ledger.day_is(20_001, node).unwrap();
    assert_eq!((sheet.day, sum(&sheet)), (20_000, 1_000_003));
    assert_eq!(DaySheet::parse(&sheet.bytes_to_sign()), Ok(sheet));
    charge(&mut ledger, 7);
    let next = ledger.day_is(20_002, node).unwrap();
    assert_eq!(
        sum(&next),
        7,
        "what was told of a deleted VM is not told again"
    );
    assert_eq!(ledger.host().0, 1_000_010);
    assert!(ledger.row(Account::Gone).total().0 > 0);
}

#[test]
#[ignore = "writes the corpus of the fuzz target"]
fn write_corpus() {
    let mut rig = Rig::new(Ledger::new());
    rig.second(90, &[], &[], &[(account(1), 2)]);
    rig.second(90, &[], &[], &[(account(1), 2)]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/ledger");
    std::fs::write(
        format!("{folder}/checkpoint"),
        rig.accountant.ledger.checkpoint(),
    )
    .unwrap();
    let node = NodeId::from_bytes([9; 16]);
    let ledger = &mut rig.accountant.ledger;
    ledger.day_is(20_000, node);
    rig.second(90, &[], &[], &[(account(1), 2)]);
    let sheet = rig.accountant.ledger.day_is(20_001, node).unwrap();
    std::fs::write(format!("{folder}/day"), sheet.bytes_to_sign()).unwrap();
}
