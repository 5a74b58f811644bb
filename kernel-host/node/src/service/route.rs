//! Where a request is answered: here, by another node, or from what is known here.
//!
//! Does:      finds the host of what a request names; tries the candidates for a new VM one after
//!            the other; takes in deletions whose host is away.
//! Does not:  route what was forwarded: the node it reached answers, whatever it says.
//! Bounds:    `RECENT_MAX` new VMs are remembered until their record has come.
//! Trusts:    the atlas, which may be a second old: the host's own word decides.
//! Start at:  `elsewhere`.

use super::cluster::boxed;
use super::forward::{forward, forward_over, open};
use super::server::Upgrades;
use super::{Node, count};
use api::{Call, Operation, Reply, RequestHead};
use bytes::Bytes;
use cloud::{Atlas, Cloud, KnownVm};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use protocol::{
    Answer, Code, Command, NewVm, NodeId, Problem, Selector, SiteId, Vm, VmId, VmState, Wish,
};
use std::rc::Rc;

/// New VMs on other nodes whose records may still be on their way here.
pub(super) const RECENT_MAX: usize = 64;

/// What another node answered, or what this node can say for it.
pub(super) type Elsewhere = Option<Response<Full<Bytes>>>;

/// A request on its way.
pub(super) struct Asked<'a> {
    pub upgrades: &'a Upgrades,
    pub parts: &'a Parts,
    pub wish: Wish,
    pub body: Bytes,
}

impl Asked<'_> {
    fn target(&self) -> &str {
        let target = self.parts.uri.path_and_query();
        target.map_or("/", |target| target.as_str())
    }

    /// The same target with the thing named by its id, which every node understands alike.
    fn target_of(&self, id: &str) -> String {
        let mut segments: Vec<&str> = self.target().splitn(5, '/').collect();
        if let Some(segment) = segments.get_mut(3) {
            let query = segment.find('?').map(|at| segment[at..].to_owned());
            let named = format!("{id}{}", query.unwrap_or_default());
            *segment = &named;
            return segments.join("/");
        }
        segments.join("/")
    }
}

/// The answer, if another node than this one has to give it. `None`: it is for this node.
pub(super) async fn elsewhere(
    node: &Rc<Node>,
    asked: &Asked<'_>,
) -> Result<Elsewhere, Box<Problem>> {
    let head = RequestHead::from(asked.parts);
    let operation = api::operation(&head)?;
    match operation {
        Operation::ShowNode
        | Operation::ShowEnergy
        | Operation::PowerOff
        | Operation::Reboot
        | Operation::ListEvents
        | Operation::CreateImage
        | Operation::ShowBlob
        | Operation::PutBlob => to_wished(node, asked).await,
        Operation::DeleteImage => {
            if asked.wish.node.is_some() {
                return to_wished(node, asked).await;
            }
            let Call::Cloud(request) = call(asked)? else {
                return Ok(None);
            };
            let Command::DeleteImage(name) = request.command else {
                return Ok(None);
            };
            let host = node.atlas().holder_of(&name).map_err(boxed)?;
            to(node, asked, host, None).await
        }
        Operation::ListVms | Operation::ListImages | Operation::ListNodes => {
            to_site(node, asked).await
        }
        Operation::RemoveNode => remove(node, asked).await,
        Operation::CreateVm => create(node, asked).await,
        Operation::ShowVm
        | Operation::StartVm
        | Operation::StopVm
        | Operation::ResetVm
        | Operation::DeleteVm
        | Operation::Console
        | Operation::ConsoleLog => to_host(node, asked, operation).await,
        _ => Ok(None),
    }
}

fn call(asked: &Asked<'_>) -> Result<Call, Box<Problem>> {
    let head = RequestHead::from(asked.parts);
    Ok(api::parse(&head, asked.body.to_vec())?)
}

async fn to(
    node: &Node,
    asked: &Asked<'_>,
    host: NodeId,
    what: Option<String>,
) -> Result<Elsewhere, Box<Problem>> {
    if host == node.facts.id.get() {
        return Ok(None);
    }
    count(&node.counters.forwarded);
    let request = (asked.parts, asked.target());
    let answer = forward(
        node,
        asked.upgrades,
        host,
        request,
        asked.body.clone(),
        what,
    );
    answer.await.map(Some)
}

/// To the node that the request names.
async fn to_wished(node: &Node, asked: &Asked<'_>) -> Result<Elsewhere, Box<Problem>> {
    let Some(wished) = &asked.wish.node else {
        return Ok(None);
    };
    let host = {
        let atlas = node.atlas();
        let found = atlas.find_node(wished).map_err(boxed)?;
        atlas.check_answers(found).map_err(boxed)?;
        found.id
    };
    to(node, asked, host, None).await
}

/// A list of a site that keeps its own records comes from one of its nodes.
async fn to_site(node: &Node, asked: &Asked<'_>) -> Result<Elsewhere, Box<Problem>> {
    let Some(site) = &asked.wish.site else {
        return Ok(None);
    };
    let host = {
        let atlas = node.atlas();
        let id = atlas.find_site(site).map_err(boxed)?;
        atlas.keeper_of(id)
    };
    match host {
        Some(host) => to(node, asked, host, None).await,
        None => Ok(None),
    }
}

/// A node's right is taken away by its site.
async fn remove(node: &Rc<Node>, asked: &Asked<'_>) -> Result<Elsewhere, Box<Problem>> {
    let Call::RemoveNode(selector) = call(asked)? else {
        return Ok(None);
    };
    let (removed, site) = {
        let atlas = node.atlas();
        let found = atlas.find_node(&selector).map_err(boxed)?;
        (
            found.id,
            (Some(found.site) != atlas.own_site()).then_some(found.site),
        )
    };
    match site {
        Some(site) => by_site(node, asked, site, &removed.to_string(), Some(removed))
            .await
            .map(Some),
        None => Ok(None),
    }
}

/// The answer of a site, by one of its nodes but the one named, about the thing with this id.
async fn by_site(
    node: &Rc<Node>,
    asked: &Asked<'_>,
    site: SiteId,
    id: &str,
    but: Option<NodeId>,
) -> Result<Response<Full<Bytes>>, Box<Problem>> {
    let (someone, name) = {
        let atlas = node.atlas();
        (atlas.someone_of(site, but), atlas.site_name(site))
    };
    let Some(someone) = someone else {
        let name = name.map_or_else(|| site.to_string(), |name| name.to_string());
        let detail = format!("No node of site `{name}` answers, and only its nodes can do this");
        let advice = "Ask again when the site is back: luc site list";
        return Err(Box::new(Problem::new(Code::HostSilent, detail, advice)));
    };
    count(&node.counters.forwarded);
    let target = asked.target_of(id);
    let request = (asked.parts, target.as_str());
    let body = asked.body.clone();
    forward(node, asked.upgrades, someone, request, body, None).await
}

/// What another node hands to this one though the VM is not here: the host is away, and the word
/// of its site is needed.
pub(super) async fn for_absent_host(
    node: &Rc<Node>,
    asked: &Asked<'_>,
) -> Result<Elsewhere, Box<Problem>> {
    let operation = api::operation(&RequestHead::from(asked.parts))?;
    if operation != Operation::DeleteVm {
        return Ok(None);
    }
    let Call::Cloud(request) = call(asked)? else {
        return Ok(None);
    };
    let Command::DeleteVm(vm) = request.command else {
        return Ok(None);
    };
    let host = host_of(node, &node.atlas(), &vm);
    match host {
        Ok(Host::Away(known)) => tell_wish(node, *known).map(Some),
        _ => Ok(None),
    }
}

/// A new VM: the candidates one after the other, until one takes it.
async fn create(node: &Rc<Node>, asked: &Asked<'_>) -> Result<Elsewhere, Box<Problem>> {
    let Call::Cloud(request) = call(asked)? else {
        return Ok(None);
    };
    let Command::CreateVm(new) = &request.command else {
        return Ok(None);
    };
    let candidates = candidates(node, new, &asked.wish)?;
    let mut last = None;
    for host in candidates {
        if host == node.facts.id.get() {
            match super::requests::here(node, Call::Cloud(request.clone())).await {
                Err(problem) if may_try_next(problem.code) => last = Some(Err(problem)),
                Ok(reply) => return Ok(Some(respond(reply))),
                Err(problem) => return Err(problem),
            }
            continue;
        }
        let stream = match open(node, host, None).await {
            Ok(stream) => stream,
            Err(problem) => {
                last = Some(Err(problem));
                continue;
            }
        };
        count(&node.counters.forwarded);
        let (upgrades, request) = (asked.upgrades, (asked.parts, asked.target()));
        let body = asked.body.clone();
        let answer = forward_over(stream, node, upgrades, (host, None), request, body).await;
        // It may have made the VM: to ask the next one could make a second.
        let answer = remember(node, answer.map_err(perhaps_made)?).await;
        if !is_full(answer.status()) {
            return Ok(Some(answer));
        }
        last = Some(Ok(Some(answer)));
    }
    last.unwrap_or(Ok(None))
}

fn perhaps_made(mut problem: Box<Problem>) -> Box<Problem> {
    problem.advice =
        "It may have made the VM all the same. Look before you ask again: luc vm list".to_owned();
    problem
}

fn candidates(node: &Node, new: &NewVm, wish: &Wish) -> Result<Vec<NodeId>, Box<Problem>> {
    node.atlas().candidates(new, wish).map_err(boxed)
}

/// Problems of one node that another may not have.
fn may_try_next(code: Code) -> bool {
    matches!(
        code,
        Code::NoCapacity | Code::NoKvm | Code::GoingDown | Code::LimitReached | Code::HostSilent
    )
}

fn is_full(status: StatusCode) -> bool {
    let full = [Code::NoCapacity, Code::NoKvm, Code::LimitReached];
    full.iter().any(|code| code.status() == status.as_u16())
}

/// Notes where a new VM is, until its record has come.
async fn remember(node: &Node, answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.map(|body| body.to_bytes());
    let bytes = bytes.unwrap_or_default();
    if parts.status == StatusCode::ACCEPTED
        && let Ok(vm) = serde_json::from_slice::<Vm>(&bytes)
    {
        let mut recent = node.recent.borrow_mut();
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back((vm.id, vm.node));
    }
    Response::from_parts(parts, Full::new(bytes))
}

/// What a request about a VM needs to know of it.
enum Host {
    Here,
    There(NodeId, VmId, String),
    /// It does not answer; what is known stands for it.
    Away(Box<KnownVm>),
}

fn host_of(node: &Node, atlas: &Atlas, selector: &Selector) -> Result<Host, Box<Problem>> {
    let known = match atlas.find(selector) {
        Ok(known) => known,
        Err(refusal) => {
            let recent = node.recent.borrow();
            let named = |(vm, _): &&(VmId, NodeId)| vm.to_string() == selector.as_str();
            return match recent.iter().find(named) {
                Some((vm, host)) => Ok(Host::There(*host, *vm, format!("VM `{vm}`"))),
                None => Err(boxed(refusal)),
            };
        }
    };
    Ok(if known.vm.node == node.facts.id.get() {
        Host::Here
    } else if known.reachable && known.vm.state != VmState::Lost {
        let what = format!("VM `{}`", known.vm.name);
        Host::There(known.vm.node, known.vm.id, what)
    } else {
        Host::Away(Box::new(known.clone()))
    })
}

async fn to_host(
    node: &Rc<Node>,
    asked: &Asked<'_>,
    operation: Operation,
) -> Result<Elsewhere, Box<Problem>> {
    let selector = match call(asked)? {
        Call::Console { vm, .. } | Call::ConsoleLog { vm } => vm,
        Call::Cloud(request) => match request.command {
            Command::ShowVm(vm)
            | Command::StartVm(vm)
            | Command::StopVm(vm, _)
            | Command::ResetVm(vm)
            | Command::DeleteVm(vm) => vm,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let host = host_of(node, &node.atlas(), &selector)?;
    let (host, vm, what) = match host {
        Host::Here => return Ok(None),
        Host::There(host, vm, what) => (host, vm, what),
        Host::Away(known) => return without_host(node, asked, operation, *known).await.map(Some),
    };
    count(&node.counters.forwarded);
    let target = asked.target_of(&vm.to_string());
    let request = (asked.parts, target.as_str());
    let answer = forward(
        node,
        asked.upgrades,
        host,
        request,
        asked.body.clone(),
        Some(what),
    );
    match answer.await {
        // The record says what was true last, and how long ago.
        Err(problem) if operation == Operation::ShowVm && problem.code == Code::HostSilent => {
            match node.atlas().find(&vm.into()) {
                Ok(known) => {
                    let mut vm = known.vm.clone();
                    if let Some(place) = &mut vm.place {
                        place.reachable = false;
                    }
                    Ok(Some(respond(Reply::answer(&Answer::Vm(vm)))))
                }
                Err(_) => Err(problem),
            }
        }
        answer => answer.map(Some),
    }
}

/// What can be done for a VM whose host is away or gone for good.
async fn without_host(
    node: &Rc<Node>,
    asked: &Asked<'_>,
    operation: Operation,
    known: KnownVm,
) -> Result<Response<Full<Bytes>>, Box<Problem>> {
    let lost = known.vm.state == VmState::Lost;
    match operation {
        Operation::ShowVm => Ok(respond(Reply::answer(&Answer::Vm(known.vm)))),
        Operation::DeleteVm if known.vm.state == VmState::Deleting => {
            Ok(respond(Reply::answer(&Answer::VmDeleted(known.vm))))
        }
        Operation::DeleteVm => {
            let own = node.atlas().own_site();
            match known.realm.filter(|realm| Some(*realm) != own) {
                Some(site) => by_site(node, asked, site, &known.vm.id.to_string(), None).await,
                None => tell_wish(node, known),
            }
        }
        _ if lost => Err(boxed(cloud::Refusal::WrongState {
            name: known.vm.name,
            state: VmState::Lost,
            wanted: "its host is gone for good, and the VM with it",
        })),
        _ => {
            let host = known.vm.place.map_or_else(String::new, |place| place.name);
            Err(boxed(cloud::Refusal::HostSilent {
                node: host,
                what: Some(format!("VM `{}`", known.vm.name)),
            }))
        }
    }
}

/// Tells the VM's site that it shall be deleted: by its host on its return, at once if that is gone
/// for good.
fn tell_wish(node: &Rc<Node>, known: KnownVm) -> Result<Response<Full<Bytes>>, Box<Problem>> {
    let lost = known.vm.state == VmState::Lost;
    let wish = Cloud::wish_to_delete(&known.vm, known.epoch, lost);
    node.tell(known.realm, wish)?;
    let mut vm = known.vm;
    let host = vm
        .place
        .as_ref()
        .map_or_else(String::new, |place| place.name.clone());
    vm.state = VmState::Deleting;
    vm.reason = (!lost)
        .then(|| format!("its host {host} does not answer; it deletes the VM on its return"));
    node.saw("vm", Some(vm.node), vm.name.as_str(), "asked to be deleted");
    Ok(respond(Reply::answer(&Answer::VmDeleted(vm))))
}

pub(super) fn respond(reply: Reply) -> Response<Full<Bytes>> {
    reply.into_http().map(|body| Full::new(Bytes::from(body)))
}
