//! `luc vm ...`.
//!
//! Does:      asks for what a person wants of VMs, waits if wanted, shows what they became.
//! Does not:  know where a VM is: any node finds it.
//! Bounds:    `--timeout` for waits.
//! Trusts:    the node for what it says of VMs.
//! Start at:  `run`.

use super::Session;
use crate::{
    Done,
    arguments::{VmCreate, VmDelete, VmStop, VmVerb, Where},
    confirm::{Decision, confirm},
    console,
    render::{Layout, check_columns},
    wait::{Condition, told},
};
use protocol::{Code, NewVm, Problem, StopRequest, Vm, VmState, Wish, problem::exit};
use std::time::Duration;

pub(super) fn run(verb: &VmVerb, session: &mut Session<'_>) -> Done {
    check_columns::<Vm>(session.common)?;
    match verb {
        VmVerb::Create(create) => make(create, session),
        VmVerb::List(at) => {
            let vms = session.client.aimed_at(wish(at)).list_vms()?;
            let word = "No VMs yet. Make one: luc vm create NAME --image IMAGE";
            session.if_empty(vms.items.is_empty(), word);
            session.page(&vms)
        }
        VmVerb::Show(one) => {
            let vm = session.client.show_vm(&one.vm)?;
            session.show(&vm, Layout::Card)
        }
        VmVerb::Console(options) => {
            console::run(options, session.common, &session.client, session.streams)
        }
        VmVerb::Log(one) => {
            let log = session.client.console_log(&one.vm)?;
            let written = session.streams.output.write_all(&log);
            drop(written.and_then(|()| session.streams.output.flush()));
            Ok(exit::DONE)
        }
        VmVerb::Stop(stop) => end(stop, session),
        VmVerb::Start(one) => {
            let vm = session.client.start_vm(&one.vm)?;
            session.finish_vm(vm, &Condition::Running)
        }
        VmVerb::Reset(one) => {
            let vm = session.client.reset_vm(&one.vm)?;
            session.finish_vm(vm, &Condition::Running)
        }
        VmVerb::Delete(delete) => remove(delete, session),
    }
}

/// What `--site` and `--node` ask for.
pub(super) fn wish(at: &Where) -> Wish {
    Wish {
        node: at.node.clone(),
        site: at.site.clone(),
    }
}

fn make(create: &VmCreate, session: &mut Session<'_>) -> Done {
    let client = session.client.aimed_at(Wish {
        node: create.node.clone(),
        site: create.site.clone(),
    });
    let vm = client.create_vm(&NewVm {
        name: create.name.clone(),
        image: create.image.clone(),
        vcpus: create.vcpus,
        memory: create.memory,
        cmdline: create.cmdline.clone(),
        disk: create.disk.into(),
    })?;
    session.finish_vm(vm, &Condition::Running)
}

fn end(stop: &VmStop, session: &mut Session<'_>) -> Done {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let how = StopRequest {
        force: stop.force,
        force_after_ms: stop.force_after.map(ms),
    };
    let vm = session.client.stop_vm(&stop.one.vm, how)?;
    if !session.waits() || !matches!(vm.state, VmState::Stopping) {
        return session.show(&vm, Layout::Row);
    }
    let client = session.client.clone();
    let timeout = session.common.timeout;
    let vm = wait_for_rest(&client, &vm, timeout, session.teller())?;
    session.show(&vm, Layout::Row)
}

/// Waits until a stopping VM is at rest; one that runs on did not want to stop.
fn wait_for_rest(
    client: &crate::client::Client,
    vm: &Vm,
    timeout: Duration,
    tell: impl FnMut(&str),
) -> Result<Vm, Problem> {
    let stopped = crate::wait::wait_for_vm_unless(
        client,
        &vm.id.into(),
        &Condition::Stopped,
        timeout,
        |vm| vm.state == VmState::Running,
        tell,
    );
    match stopped {
        Ok(Some(now)) if now.state == VmState::Running => Err(Problem::new(
            Code::NotReached,
            told(&now),
            format!("End it by force: luc vm stop {} --force", now.name),
        )),
        Ok(Some(now)) => Ok(now),
        Ok(None) => Ok(vm.clone()),
        Err(problem) => Err(problem),
    }
}

fn remove(delete: &VmDelete, session: &mut Session<'_>) -> Done {
    let vms: Vec<Vm> = delete
        .vms
        .iter()
        .map(|vm| session.client.show_vm(vm))
        .collect::<Result<_, _>>()?;
    session.show_beforehand(&vms)?;
    let question = match vms.as_slice() {
        [vm] => format!("Delete VM `{}`", vm.name),
        several => format!("Delete {} VMs", several.len()),
    };
    match confirm(&question, delete.dry_run, session.common, session.streams)? {
        Decision::Go => {}
        Decision::End(code) => return Ok(code),
    }
    let mut deleted = Vec::new();
    for vm in vms {
        match session.client.delete_vm(&vm.id.into()) {
            Ok(vm) => deleted.push(vm),
            // Somebody else was faster, or an answer got lost.
            Err(problem) if problem.code == Code::NotFound => {
                deleted.push(Vm {
                    state: VmState::Deleting,
                    ..vm
                });
            }
            Err(problem) => return Err(problem),
        }
    }
    if session.waits() {
        for vm in &deleted {
            if vm.place.as_ref().is_some_and(|place| !place.reachable) {
                session.note(&vm.reason.iter().cloned().collect::<Vec<_>>());
                continue; // its host does it on its return
            }
            session.wait_vm(&vm.id.into(), &Condition::Deleted)?;
        }
    }
    session.list(&deleted)
}
