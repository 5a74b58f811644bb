//! `luc energy ...`: pictures first, every number for programs.
//!
//! Start at:  `run`.

use super::Session;
use crate::{
    Done,
    arguments::{EnergyVerb, Format, OfNode},
    render::{Drawn, Layout, check_columns},
};
use protocol::{Code, EnergyKind, EnergySource, NodeEnergy, Problem, Selector, Wish};

pub(super) fn run(verb: &EnergyVerb, session: &mut Session<'_>) -> Done {
    match verb {
        EnergyVerb::Now(of) => now(of, session),
        EnergyVerb::Vm(one) => vm(&one.vm, session),
        EnergyVerb::Own(of) => own(of, session),
        EnergyVerb::Sources(of) => {
            check_columns::<EnergySource>(session.common)?;
            let energy = ask(of.node.clone(), session)?;
            session.list(&energy.sources)
        }
    }
}

fn ask(node: Option<Selector>, session: &Session<'_>) -> Result<NodeEnergy, Problem> {
    session
        .client
        .aimed_at(Wish { node, site: None })
        .show_energy()
}

/// For people the accounts as bars and then the node; for programs the node's own answer.
fn now(of: &OfNode, session: &mut Session<'_>) -> Done {
    check_columns::<Drawn>(session.common)?;
    let energy = ask(of.node.clone(), session)?;
    let for_people = matches!(session.common.output, Format::Table | Format::Wide);
    if !for_people {
        return session.show(&energy, Layout::Card);
    }
    session.list(&Drawn::of(&energy, |_| true))?;
    match session.common.columns.is_empty() {
        true => session.show(&energy, Layout::Card),
        false => Ok(protocol::problem::exit::DONE),
    }
}

/// The VM's host knows; the VM's own record says who that is.
fn vm(vm: &Selector, session: &mut Session<'_>) -> Done {
    check_columns::<Drawn>(session.common)?;
    let vm = session.client.show_vm(vm)?;
    let energy = ask(Some(vm.node.into()), session)?;
    let found = Drawn::of(&energy, |account| account.vm == Some(vm.id));
    match found.first() {
        Some(drawn) => session.show(drawn, Layout::Card),
        None => Err(Problem::new(
            Code::NotFound,
            format!(
                "Node `{}` has no energy of VM `{}` in its ledger yet",
                energy.name, vm.name
            ),
            "A VM that ran for some seconds has; look again, or: luc energy now",
        )),
    }
}

fn own(of: &OfNode, session: &mut Session<'_>) -> Done {
    check_columns::<Drawn>(session.common)?;
    let energy = ask(of.node.clone(), session)?;
    let services = |account: &protocol::EnergyAccount| account.kind == EnergyKind::Service;
    session.list(&Drawn::of(&energy, services))
}
