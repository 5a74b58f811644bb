//! The books as the API shows them.
//!
//! Does:      names accounts, turns the last interval into powers, says how each meter stands.
//! Does not:  compute shares or errors (`energy` does).
//! Bounds:    one entry for each account and meter.
//! Trusts:    the books; a VM that the cloud has forgotten is shown by its id.
//! Start at:  `Node::energy`.

use super::super::Node;
use super::books::{Books, Kept};
use energy::ledger::{Account, Row};
use energy::meter::bank::Health;
use energy::meter::{MS, Uptime, Zone};
use protocol::{EnergyAccount, EnergyKind, EnergySource, Microjoules, Microwatts, NodeEnergy};

impl Node {
    /// The document of `GET /v1/energy`.
    pub fn show_energy(&self) -> NodeEnergy {
        let moment = self.now();
        let now = Uptime(moment.uptime_ms * MS);
        let told = self.energy.with(|books| NodeEnergy {
            node: self.facts.id.get(),
            name: self.standing.borrow().name().to_owned(),
            now: moment.wall,
            ..of_books(books, now, |account| self.named(account))
        });
        told.unwrap_or_else(|| NodeEnergy {
            node: self.facts.id.get(),
            name: self.standing.borrow().name().to_owned(),
            now: moment.wall,
            ..unopened()
        })
    }

    fn named(&self, account: Account) -> String {
        match account {
            Account::Vm(id) => {
                let cloud = self.cloud.borrow();
                let name = cloud
                    .vms()
                    .find(|vm| vm.id == id)
                    .map(|vm| vm.name.to_string());
                name.unwrap_or_else(|| id.short())
            }
            Account::Service(service) => service.word().to_owned(),
            Account::Gone => "deleted VMs".to_owned(),
            Account::Unsold => "idle, unsold".to_owned(),
            Account::Unknown => "kernel and others".to_owned(),
        }
    }
}

/// Before the first tick there is nothing to tell.
pub(super) fn unopened() -> NodeEnergy {
    NodeEnergy {
        node: protocol::NodeId::from_bytes([0; 16]),
        name: String::new(),
        now: protocol::Timestamp::default(),
        epoch: 0,
        interval_ms: 0,
        power_uw: Microwatts::ZERO,
        bar_uw: Microwatts::ZERO,
        class: "guess".to_owned(),
        reason: "nothing was read yet".to_owned(),
        alarm: false,
        load_permille: 0,
        idle_uw: Microwatts::ZERO,
        energy_uj: Microjoules::ZERO,
        accounts: Vec::new(),
        sources: Vec::new(),
    }
}

fn of_books(books: &Books, now: Uptime, named: impl Fn(Account) -> String) -> NodeEnergy {
    let ledger = &books.accountant.ledger;
    let rows = ledger
        .rows()
        .map(|(account, row)| account_of(books, account, row, &named));
    let base = NodeEnergy {
        epoch: ledger.epoch(),
        energy_uj: ledger.host(),
        accounts: rows.collect(),
        sources: vec![
            source(&books.rapl, now),
            source(&books.slow, now),
            model(books),
        ],
        alarm: books.accountant.fusion.alarm(),
        ..unopened()
    };
    let Some(last) = books.accountant.last() else {
        return base;
    };
    let power = last.host.energy.over(last.host.over_ns).unwrap_or_default();
    let sigma = Row {
        sigma: Microjoules(scaled(power.0, last.host.sigma_ppm)),
        ..Row::default()
    };
    NodeEnergy {
        interval_ms: last.host.over_ns / MS,
        power_uw: power,
        bar_uw: Microwatts(sigma.bar().0),
        class: last.host.class.word().to_owned(),
        reason: last.host.reason.to_string(),
        load_permille: last.load_ppm / 1000,
        idle_uw: last.idle,
        ..base
    }
}

fn scaled(value: u64, ppm: u32) -> u64 {
    let product = u128::from(value) * u128::from(ppm) / 1_000_000;
    u64::try_from(product).unwrap_or(u64::MAX)
}

fn account_of(
    books: &Books,
    account: Account,
    row: Row,
    named: &impl Fn(Account) -> String,
) -> EnergyAccount {
    let last = books.accountant.last();
    let energy = last.map_or(Microjoules::ZERO, |last| match account {
        Account::Unsold => last.unsold,
        Account::Unknown => last.unknown,
        _ => {
            let part = last.parts.iter().find(|(known, _)| *known == account);
            part.map_or(Microjoules::ZERO, |(_, part)| {
                part.active.saturating_add(part.idle)
            })
        }
    });
    let over_ns = last.map_or(0, |last| last.host.over_ns);
    let (kind, vm) = match account {
        Account::Vm(vm) => (EnergyKind::Vm, Some(vm)),
        Account::Service(_) => (EnergyKind::Service, None),
        Account::Gone => (EnergyKind::Gone, None),
        Account::Unsold => (EnergyKind::Unsold, None),
        Account::Unknown => (EnergyKind::Unknown, None),
    };
    EnergyAccount {
        kind,
        name: named(account),
        vm,
        power_uw: energy.over(over_ns).unwrap_or_default(),
        active_uj: row.active,
        idle_uj: row.idle,
        bar_uj: row.bar(),
    }
}

fn source(kept: &Kept, now: Uptime) -> EnergySource {
    let meter = &kept.meter;
    let state = match meter.health() {
        Health::New => "new",
        Health::Good => "good",
        Health::Failing => "failing",
        Health::Quarantined => "quarantined",
    };
    let own = |zone: Zone| {
        matches!(
            zone,
            Zone::Package(_) | Zone::Dram(_) | Zone::Wall(_) | Zone::Board(_)
        )
    };
    let readings = meter.readings().iter().filter(|reading| own(reading.zone));
    let powers = readings.filter_map(|reading| reading.value.power());
    let power = powers.reduce(Microwatts::saturating_add);
    EnergySource {
        name: meter.name().to_owned(),
        state: state.to_owned(),
        detail: meter
            .fault()
            .map(|fault| format!("{fault}. {}", fault.advice())),
        power_uw: power,
        age_ms: meter.heard().map(|at| now.since(at) / MS),
        rounds: meter.counts().rounds,
        faults: meter.counts().faults,
    }
}

/// The model is always there; what it goes by is its detail.
fn model(books: &Books) -> EnergySource {
    EnergySource {
        name: "model".to_owned(),
        state: "good".to_owned(),
        detail: Some(format!("By {}", books.model())),
        power_uw: Some(books.model_power()),
        age_ms: Some(0),
        rounds: books.ticks,
        faults: 0,
    }
}
