//! Requests in, replies out.
//!
//! Does:      reads the body within its limits, has the API parse it, asks the cloud, upgrades
//!            consoles.
//! Does not:  know sockets (`server`) or paths (`api`).
//! Bounds:    the route's body limit; `BODY_MS` for all of a body.
//! Trusts:    nobody.
//! Start at:  `answer`.

use super::server::{Upgrade, Upgrades};
use super::{Node, count};
use crate::supervision::{End, ToInit};
use api::{Call, Reply, RequestHead};
use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use protocol::{Code, Command, NodeState, PowerReply, Problem, Selector};
use std::rc::Rc;
use tungstenite::handshake::derive_accept_key;

/// A megabyte over a bad line takes a few seconds.
const BODY_MS: u64 = 30_000;

type Answer = Response<Full<Bytes>>;

/// The reply to one request.
pub(crate) async fn answer(
    node: &Rc<Node>,
    upgrades: &Upgrades,
    request: Request<Incoming>,
) -> Answer {
    count(&node.counters.requests);
    let request_id = format!("r-{}", node.counters.requests.get());
    let (parts, body) = request.into_parts();
    let reply = match call(node, &parts, body).await {
        Ok(Call::Console { vm, since, take }) => {
            match upgrade(node, upgrades, &parts, &vm, since, take) {
                Ok(answer) => return answer,
                Err(problem) => Err(problem),
            }
        }
        Ok(call) => reply(node, call).await,
        Err(problem) => Err(problem),
    };
    let reply = reply.unwrap_or_else(|problem| {
        count(&node.counters.problems);
        if problem.code == Code::Internal {
            node.line(
                "error",
                &format!("request {request_id}: {}", problem.detail),
            );
        }
        Reply::problem(*problem, &request_id)
    });
    let mut response = reply.into_http().map(|body| Full::new(Bytes::from(body)));
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

async fn call(node: &Node, parts: &Parts, body: Incoming) -> Result<Call, Box<Problem>> {
    let head = RequestHead::from(parts);
    let most = api::body_max(&head)?;
    let body = node.executor.timeout(BODY_MS, read_body(body, most)).await;
    let body = body.map_err(|_| {
        let detail = format!("The body did not arrive within {} s", BODY_MS / 1000);
        Box::new(Problem::new(
            Code::BadRequest,
            detail,
            "Send it faster, or in smaller pieces",
        ))
    })??;
    Ok(api::parse(&head, body)?)
}

async fn read_body(mut body: Incoming, most: usize) -> Result<Vec<u8>, Box<Problem>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let broken = |error: hyper::Error| {
            let detail = format!("The body could not be read: {error}");
            Problem::new(Code::BadRequest, detail, "Send the request again")
        };
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if bytes.len() + data.len() > most {
                return Err(Box::new(api::too_large(most)));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

async fn reply(node: &Rc<Node>, call: Call) -> Result<Reply, Box<Problem>> {
    match call {
        Call::Home => Ok(Reply::home(node.standing.borrow().name())),
        Call::OpenApi => Ok(Reply::openapi()),
        Call::ShowNode => Ok(Reply::node(&node.describe())),
        Call::PowerOff => Ok(end(node, End::PowerOff)),
        Call::Reboot => Ok(end(node, End::Reboot)),
        Call::Cloud(request) => {
            refuse_when_going_down(node, &request.command)?;
            if matches!(request.command, Command::CreateVm(_) | Command::StartVm(_)) {
                node.need_kvm().await?;
            }
            match node.command(request) {
                Ok(answer) => Ok(Reply::answer(&answer)),
                Err(refusal) => Err(Box::new(refusal.into())),
            }
        }
        Call::ConsoleLog { vm } => {
            let vm = node
                .cloud
                .borrow()
                .vm(&vm)
                .map(|vm| vm.id)
                .map_err(Problem::from)?;
            Ok(Reply::text(node.console(vm).scrollback()))
        }
        Call::Console { .. } => {
            let detail = "A console request was not upgraded";
            Err(Box::new(Problem::new(
                Code::Internal,
                detail,
                "Report this",
            )))
        }
    }
}

fn end(node: &Node, how: End) -> Reply {
    node.parent.say(&ToInit::Wish(how));
    Reply::power(&PowerReply {
        node: node.facts.id,
        state: NodeState::GoingDown,
    })
}

/// A node that ends takes no new work; it still shows, stops and deletes.
fn refuse_when_going_down(node: &Node, command: &Command) -> Result<(), Box<Problem>> {
    let new_work = matches!(
        command,
        Command::CreateVm(_)
            | Command::StartVm(_)
            | Command::ResetVm(_)
            | Command::CreateImage(_)
            | Command::PutBlob { .. }
    );
    if new_work && node.going_down.get() {
        let detail = "The node is going down and takes no new work";
        return Err(Box::new(Problem::new(
            Code::GoingDown,
            detail,
            "Use another node",
        )));
    }
    Ok(())
}

/// Accepts a WebSocket and leaves the console's client for the connection.
fn upgrade(
    node: &Node,
    upgrades: &Upgrades,
    parts: &Parts,
    vm: &Selector,
    since: Option<u64>,
    take: bool,
) -> Result<Answer, Box<Problem>> {
    let (id, state) = {
        let cloud = node.cloud.borrow();
        let vm = cloud.vm(vm).map_err(Problem::from)?;
        (vm.id, vm.state)
    };
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let key = header("sec-websocket-key").filter(|_| header("sec-websocket-version") == Some("13"));
    let key = key.ok_or_else(|| {
        let detail = "The WebSocket handshake lacks its key, or is not version 13";
        Problem::new(
            Code::BadRequest,
            detail,
            "Use a WebSocket client, such as: luc vm console",
        )
    })?;
    let console = node.console(id);
    let client = console.attach(since, take, state).map_err(|_| {
        let detail = format!("{} clients read this console already", console.clients());
        Problem::new(
            Code::Busy,
            detail,
            "Close one of them, or read the console/log",
        )
    })?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    upgrades.replace(Some(Upgrade { console, client }));
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = accept {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}
