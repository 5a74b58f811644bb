//! Requests to calls.
//!
//! Does:      finds the route, checks parameters, key, media type and body, and makes the `Call`.
//! Does not:  look anything up: whether a VM exists is the cloud's to say.
//! Bounds:    `TARGET_BYTES_MAX` of path and query; bodies as long as their route says.
//! Trusts:    nobody.
//! Start at:  `parse`. Before the body is read, `body_max` says how much of it to take.

use crate::{
    Call, RequestHead, json,
    query::Query,
    route::{Body, Operation, ROUTES, Route},
    schema::Schema,
    target::Target,
};
use protocol::{
    Approve, Code, Command, Digest, Hasher, NewImage, NewVm, Problem, Request, RetryKey, Selector,
    StopRequest, Wish, limits, nearest,
};
use std::{fmt::Display, str::FromStr};

/// The most bytes of body that this request may have. A problem here means: don't read the body.
pub fn body_max(head: &RequestHead<'_>) -> Result<usize, Problem> {
    let target = Target::parse(head.target)?;
    let (route, _) = find(head.method, &target.path)?;
    let most = route.body.bytes_max();
    match head.content_length {
        Some(length) if length > most as u64 => Err(too_large(most)),
        _ => Ok(most),
    }
}

/// A body went past its maximum.
pub fn too_large(most: usize) -> Problem {
    if most == 0 {
        let detail = "This request takes no body";
        return Problem::new(Code::TooLarge, detail, "Send it without a body");
    }
    let advice = if most == limits::CHUNK_BYTES_MAX {
        "Send the blob in smaller pieces"
    } else {
        "Large things are sent as blobs: PUT /v1/blobs/{sha256}"
    };
    Problem::new(
        Code::TooLarge,
        format!("The body has more than {most} bytes"),
        advice,
    )
}

/// What a request asks. `body` is whole.
pub fn parse(head: &RequestHead<'_>, body: Vec<u8>) -> Result<Call, Problem> {
    let target = Target::parse(head.target)?;
    let (route, values) = find(head.method, &target.path)?;
    if body.len() > route.body.bytes_max() {
        return Err(too_large(route.body.bytes_max()));
    }
    check_media_type(route, head, &body)?;
    let query = Query::check(route, &target.query)?;
    let retry = retry(route, head, &target, &body)?;
    let value = values.first().copied().unwrap_or("");
    let cloud = |command| {
        Ok(Call::Cloud(Request {
            command,
            retry: retry.clone(),
        }))
    };
    match route.operation {
        Operation::Home => Ok(Call::Home),
        Operation::OpenApi => Ok(Call::OpenApi),
        Operation::ShowNode => Ok(Call::ShowNode),
        Operation::ShowEnergy => Ok(Call::ShowEnergy),
        Operation::Metrics => Ok(Call::Metrics),
        Operation::PowerOff => Ok(Call::PowerOff),
        Operation::Reboot => Ok(Call::Reboot),
        Operation::ListImages => cloud(Command::ListImages(query.page()?)),
        Operation::ShowImage => cloud(Command::ShowImage(word("name", value)?)),
        Operation::DeleteImage => cloud(Command::DeleteImage(word("name", value)?)),
        Operation::CreateImage => cloud(Command::CreateImage(new_image(&body)?)),
        Operation::ShowBlob => cloud(Command::ShowBlob(word("sha256", value)?)),
        Operation::PutBlob => cloud(Command::PutBlob {
            digest: word::<Digest>("sha256", value)?,
            size: query.count("size")?.unwrap_or(0),
            offset: query.count("offset")?.unwrap_or(0),
            bytes: body,
        }),
        Operation::ListVms => cloud(Command::ListVms(query.page()?)),
        Operation::CreateVm => cloud(Command::CreateVm(new_vm(&body)?)),
        Operation::ShowVm => cloud(Command::ShowVm(vm(value)?)),
        Operation::DeleteVm => cloud(Command::DeleteVm(vm(value)?)),
        Operation::StartVm => cloud(Command::StartVm(vm(value)?)),
        Operation::StopVm => cloud(Command::StopVm(vm(value)?, stop_request(&body)?)),
        Operation::ResetVm => cloud(Command::ResetVm(vm(value)?)),
        Operation::Console if !head.websocket => Err(upgrade_needed(value)),
        Operation::Console => {
            let (since, take) = (query.count("since")?, query.flag("take")?);
            Ok(Call::Console {
                vm: vm(value)?,
                since,
                take,
            })
        }
        Operation::ListNodes => Ok(Call::ListNodes(query.page()?)),
        Operation::ShowNodeEntry => Ok(Call::ShowNodeEntry(node(value)?)),
        Operation::RemoveNode => Ok(Call::RemoveNode(node(value)?)),
        Operation::ListPending => Ok(Call::ListPending),
        Operation::ApproveNode => Ok(Call::ApproveNode(approve(&body)?)),
        Operation::TellWord => Ok(Call::TellWord(json::read(&body, Schema::OwnerWord)?)),
        Operation::ListSites => Ok(Call::ListSites),
        Operation::ListEvents => Ok(Call::ListEvents {
            after: query.count("after")?.unwrap_or(0),
            wait_ms: query.count("wait_ms")?.unwrap_or(0),
        }),
        Operation::ConsoleLog => Ok(Call::ConsoleLog { vm: vm(value)? }),
    }
}

/// What a request asks for, before its body is looked at.
pub fn operation(head: &RequestHead<'_>) -> Result<Operation, Problem> {
    let target = Target::parse(head.target)?;
    find(head.method, &target.path).map(|(route, _)| route.operation)
}

/// Which node or site a request is for, by its query. A path that names a VM needs no wish.
pub fn wish(head: &RequestHead<'_>) -> Result<Wish, Problem> {
    let target = Target::parse(head.target)?;
    let (route, _) = find(head.method, &target.path)?;
    Query::check(route, &target.query)?.wish()
}

/// The route and the values of its braces. `HEAD` is answered as `GET` without the body.
fn find<'p>(method: &str, path: &'p str) -> Result<(&'static Route, Vec<&'p str>), Problem> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut allowed = Vec::new();
    for route in ROUTES {
        if let Some(values) = route.matches(path) {
            if route.method == method {
                return Ok((route, values));
            }
            allowed.push(route.method);
        }
    }
    if allowed.is_empty() {
        Err(unknown_path(path))
    } else {
        Err(wrong_method(method, &allowed))
    }
}

fn unknown_path(path: &str) -> Problem {
    let shown = limits::shortened(path, 100);
    let advice = match nearest_path(path) {
        Some(near) => format!("Did you mean {near}? GET /v1/openapi.json lists all paths"),
        None => "GET /v1/openapi.json lists all paths".to_owned(),
    };
    Problem::new(
        Code::UnknownPath,
        format!("There is nothing at {shown}"),
        advice,
    )
}

/// The pattern whose fixed words are nearest, with the braces filled from the path.
fn nearest_path(path: &str) -> Option<String> {
    let given: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let filled: Vec<String> = ROUTES
        .iter()
        .filter(|route| route.pattern.split('/').count() == given.len())
        .map(|route| {
            let words = route.pattern.split('/').zip(&given);
            let words = words.map(|(wanted, &given)| {
                if wanted.starts_with('{') && !given.is_empty() {
                    given
                } else {
                    wanted
                }
            });
            words.collect::<Vec<_>>().join("/")
        })
        .collect();
    let shorter = path.trim_end_matches('/');
    if let Some(same) = filled.iter().find(|near| near.as_str() == shorter) {
        return Some(same.clone());
    }
    nearest(path, filled.iter().map(String::as_str)).map(str::to_owned)
}

fn wrong_method(method: &str, allowed: &[&str]) -> Problem {
    let shown = limits::shortened(method, 20);
    let allowed = allowed.join(", ");
    let detail = format!("This path does not know {shown}; it knows {allowed}");
    let mut problem = Problem::new(Code::WrongMethod, detail, format!("Use {allowed}"));
    problem.allow = Some(allowed);
    problem
}

fn upgrade_needed(vm: &str) -> Problem {
    let vm = limits::shortened(vm, limits::NAME_CHARS_MAX);
    Problem::new(
        Code::UpgradeNeeded,
        "The console speaks WebSocket, and this request does not ask for it",
        format!("Use: luc vm console {vm}, or read GET /v1/vms/{vm}/console/log"),
    )
}

fn check_media_type(route: &Route, head: &RequestHead<'_>, body: &[u8]) -> Result<(), Problem> {
    let wanted = match route.body {
        Body::None => return Ok(()),
        Body::Json { optional: true, .. } if body.is_empty() => return Ok(()),
        Body::Json { .. } => "application/json",
        Body::Bytes => "application/octet-stream",
    };
    let said = head.content_type.unwrap_or("");
    let kind = said.split(';').next().unwrap_or("").trim();
    if kind.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let said = if said.is_empty() {
        "nothing".to_owned()
    } else {
        limits::shortened(said, 60)
    };
    let detail = format!("Content-Type says {said}; this path takes {wanted}");
    Err(Problem::new(
        Code::MediaType,
        detail,
        format!("Send Content-Type: {wanted}"),
    ))
}

/// The client's key, and the digest of all that it stands for. Pieces of blobs need none: they
/// may be sent again as they are.
fn retry(
    route: &Route,
    head: &RequestHead<'_>,
    target: &Target,
    body: &[u8],
) -> Result<Option<(RetryKey, Digest)>, Problem> {
    let Some(text) = head.idempotency_key else {
        return Ok(None);
    };
    let key: RetryKey = text.parse().map_err(|error: protocol::BadRetryKey| {
        let detail = format!("Idempotency-Key: {error}");
        Problem::new(
            Code::BadValue,
            detail,
            "Send a random UUID, or leave the header out",
        )
    })?;
    if !route.changes_something() || route.operation == Operation::PutBlob {
        return Ok(None);
    }
    let mut hasher = Hasher::new();
    for part in [head.method, &target.path] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(body);
    Ok(Some((key, hasher.finish())))
}

/// A value out of a path.
fn word<T: FromStr>(what: &str, text: &str) -> Result<T, Problem>
where
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| {
        let shown = limits::shortened(text, 80);
        let detail = format!("`{shown}` in the path is no {what}: {error}");
        Problem::new(
            Code::BadValue,
            detail,
            "Check the spelling; lists show what exists",
        )
    })
}

fn vm(text: &str) -> Result<Selector, Problem> {
    word("name or id of a VM", text)
}

fn node(text: &str) -> Result<Selector, Problem> {
    word("name or id of a node", text)
}

fn approve(body: &[u8]) -> Result<Approve, Problem> {
    let approve: Approve = json::read(body, Schema::Approve)?;
    let right = (1..=limits::CODE_CHARS_MAX).contains(&approve.code.len())
        && approve.code.bytes().all(|byte| byte.is_ascii_graphic());
    if right {
        return Ok(approve);
    }
    Err(Problem::new(
        Code::BadValue,
        "That is no approval code",
        "Copy the code from the screen of the machine that waits: luc node pending",
    ))
}

fn new_vm(body: &[u8]) -> Result<NewVm, Problem> {
    json::read(body, Schema::NewVm)
}

fn new_image(body: &[u8]) -> Result<NewImage, Problem> {
    json::read(body, Schema::NewImage)
}

fn stop_request(body: &[u8]) -> Result<StopRequest, Problem> {
    if body.is_empty() {
        return Ok(StopRequest::default());
    }
    json::read(body, Schema::StopRequest)
}
