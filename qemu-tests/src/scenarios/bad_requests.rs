//! Every malformed API request gets a clear answer, and the node goes on.
//!
//! Does:      sends broken HTTP, broken JSON and requests for what is not there, byte by byte.
//! Does not:  use our client, which would not send them.
//! Bounds:    one machine.
//! Trusts:    nothing but what it checks.
//! Start at:  `run`.

use std::time::Duration;

use super::checks::demand_ready;
use crate::demand;
use crate::lan::Lan;
use crate::machine::{Firmware, Shape};
use crate::node::{Node, direct};
use crate::scenario::{Outcome, Problem, Scenario};
use crate::story::Story;

/// See the file's first line.
pub const SCENARIO: Scenario = Scenario {
    name: "bad-requests",
    promise: "malformed API requests are answered with a problem that says what to do",
    limit: Duration::from_secs(300),
    is_long: false,
    run,
};

/// What is wrong, method and path, body, and the statuses that may answer.
type Case = (&'static str, &'static str, &'static str, &'static [u16]);

#[rustfmt::skip] // keeps the columns
const CASES: &[Case] = &[
    ("no such path",         "GET /v1/nonsense",         "",                                      &[404]),
    ("path climbs up",       "GET /v1/../etc/passwd",    "",                                      &[400, 404]),
    ("method not offered",   "PATCH /v1/vms",            "{}",                                    &[405]),
    ("no body",              "POST /v1/vms",             "",                                      &[400, 422]),
    ("body is no JSON",      "POST /v1/vms",             "{\"name\":",                            &[400, 422]),
    ("body is a list",       "POST /v1/vms",             "[1,2,3]",                               &[400, 422]),
    ("field is missing",     "POST /v1/vms",             "{\"name\":\"a\"}",                      &[400, 422]),
    ("field is unknown",     "POST /v1/vms",             "{\"name\":\"a\",\"image\":\"b\",\"x\":1}", &[400, 422]),
    ("name is no name",      "POST /v1/vms",             "{\"name\":\"No Name\",\"image\":\"b\"}", &[400, 422]),
    ("image is not there",   "POST /v1/vms",             "{\"name\":\"a\",\"image\":\"b\"}",      &[404, 409, 422]),
    ("too many vCPUs",       "POST /v1/vms",             "{\"name\":\"a\",\"image\":\"b\",\"vcpus\":200}", &[400, 422]),
    ("VM is not there",      "GET /v1/vms/absent",       "",                                      &[404]),
    ("VM is not there",      "DELETE /v1/vms/absent",    "",                                      &[404]),
    ("limit is no number",   "GET /v1/vms?limit=many",   "",                                      &[400, 422]),
    ("limit is too high",    "GET /v1/vms?limit=99999",  "",                                      &[400, 422]),
    ("hash is no hash",      "PUT /v1/blobs/xyz?offset=0&size=1", "a",                            &[400, 404, 422]),
    ("offset is missing",    "PUT /v1/blobs/0000000000000000000000000000000000000000000000000000000000000000", "a", &[400, 422]),
    ("console, no upgrade",  "GET /v1/vms/absent/console", "",                                    &[400, 404, 426]),
];

fn run(story: &mut Story) -> Outcome {
    let mut lan = Lan::with_netboot(story, "lan")?;
    let shape = Shape::new("host", Firmware::Bios, direct(story.supplies(), ""));
    let machine = story.power_on(lan.plug(shape)?)?;
    let node = Node::join(story, &lan, machine)?;

    let mut wrong = Vec::new();
    for (what, target, body, statuses) in CASES {
        let reply = node.raw(request(target, body).as_bytes())?;
        if !is_clear_problem(&reply, statuses) {
            wrong.push(format!(
                "{what} ({target}): expected {statuses:?}, got {reply:?}"
            ));
        }
    }
    demand!(
        wrong.is_empty(),
        "{} unclear answers:\n{}",
        wrong.len(),
        wrong.join("\n")
    );

    demand_survives_noise(&node)?;
    demand_ready(&node, &lan)
}

fn request(target: &str, body: &str) -> String {
    let length = body.len();
    let kind = if target.contains("/blobs/") {
        "octet-stream"
    } else {
        "json"
    };
    format!(
        "{target} HTTP/1.1\r\nHost: node\r\nContent-Type: application/{kind}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// The status is expected, and the body is a problem document with advice.
fn is_clear_problem(reply: &str, statuses: &[u16]) -> bool {
    let status = reply.split(' ').nth(1).and_then(|word| word.parse().ok());
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((reply, ""));
    let is_problem = head.to_lowercase().contains("application/problem+json");
    let problem = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
    let has = |field: &str| problem[field].as_str().is_some_and(|text| !text.is_empty());
    status.is_some_and(|status| statuses.contains(&status))
        && is_problem
        && has("title")
        && has("code")
        && has("advice")
}

/// Bytes that are not HTTP at all: the connection may end without a word, the node may not.
fn demand_survives_noise(node: &Node) -> Outcome {
    let mut noises: Vec<Vec<u8>> = vec![
        b"\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), // TLS
        vec![0xff; 4096],
    ];
    noises.push([b"GET /", &vec![b'a'; 200_000][..], b" HTTP/1.1\r\n\r\n"].concat());
    let header = "X-Long: ".to_owned() + &"b".repeat(200_000);
    noises.push(format!("GET / HTTP/1.1\r\nHost: n\r\n{header}\r\n\r\n").into_bytes());
    let lie = b"POST /v1/vms HTTP/1.1\r\nHost: n\r\nContent-Length: 99999999999999999999\r\n\r\n";
    noises.push(lie.to_vec());
    for noise in noises {
        if let Ok(reply) = node.raw(&noise) {
            let said = reply.lines().next().unwrap_or("");
            let refused = said.is_empty() || said.contains(" 4") || said.contains(" 5");
            demand!(refused, "noise was accepted: {said:?}");
        }
        node.show()?;
    }
    Ok::<(), Problem>(())
}
