//! A blocking client of a node's API: one typed method per route.
//!
//! Does:      requests, retries that are safe, problems as values. The rig uses it too.
//! Does not:  wait for states (`wait` does) or print.
//! Bounds:    `ANSWER_BYTES_MAX` per answer, `RETRIES_MAX` per request, `CALL_TIMEOUT`.
//! Trusts:    the node to be a node: whatever else answers is told as such.
//! Start at:  `Client::new`.

pub use crate::address::NodeAddress;

use crate::usage;
use protocol::{
    Blob, Code, Digest, Image, Name, NewImage, NewVm, Node, Page, PowerReply, Problem, Selector,
    StopRequest, Timestamp, Vm, limits,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    net::Ipv6Addr,
    sync::{Arc, Mutex},
    time::Duration,
};
use ureq::http::{self, Method};

/// An answer longer than this is no answer of a node.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Further tries if the node could not be reached or the answer got lost.
pub(crate) const RETRIES_MAX: u32 = 2;
/// One request with its answer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Talks to one node. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    node: NodeAddress,
    agent: ureq::Agent,
    retries: u32,
    /// The node's wall clock by its last answer, to show ages by.
    node_now: Arc<Mutex<Option<Timestamp>>>,
}

/// A request of this client, ready to be sent more than once.
struct Call<'a> {
    method: Method,
    path: String,
    content_type: Option<&'static str>,
    body: &'a [u8],
    key: Option<String>,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            content_type: None,
            body: &[],
            key: None,
        }
    }

    /// Names the request, so that the node does it once however often it arrives.
    fn keyed(mut self) -> Result<Self, Problem> {
        self.key = Some(random_key()?);
        Ok(self)
    }

    fn json(mut self, body: &'a [u8]) -> Self {
        (self.content_type, self.body) = (Some("application/json"), body);
        self
    }
}

impl Client {
    pub fn new(node: NodeAddress) -> Self {
        Self::with_timeout(node, CALL_TIMEOUT, RETRIES_MAX)
    }

    /// For callers that rather hear nothing than wait.
    pub fn with_timeout(node: NodeAddress, timeout: Duration, retries: u32) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("luc/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
            .timeout_global(Some(timeout))
            .build();
        Self {
            node,
            agent: config.new_agent(),
            retries,
            node_now: Arc::default(),
        }
    }

    pub fn node(&self) -> &NodeAddress {
        &self.node
    }

    /// What the node's clock said with its last answer.
    pub fn node_now(&self) -> Option<Timestamp> {
        self.node_now.lock().ok().and_then(|now| *now)
    }

    pub fn show_node(&self) -> Result<Node, Problem> {
        self.ask(&Call::new(Method::GET, "/v1/node"))
    }

    pub fn power_off(&self) -> Result<PowerReply, Problem> {
        self.ask(&Call::new(Method::POST, "/v1/node/poweroff").keyed()?)
    }

    pub fn reboot(&self) -> Result<PowerReply, Problem> {
        self.ask(&Call::new(Method::POST, "/v1/node/reboot").keyed()?)
    }

    pub fn openapi(&self) -> Result<serde_json::Value, Problem> {
        self.ask(&Call::new(Method::GET, "/v1/openapi.json"))
    }

    /// One page of the list of VMs.
    pub fn vm_page(&self, limit: u32, after: Option<&str>) -> Result<Page<Vm>, Problem> {
        self.ask(&Call::new(Method::GET, page_path("/v1/vms", limit, after)))
    }

    /// All VMs, page by page.
    pub fn list_vms(&self) -> Result<Vec<Vm>, Problem> {
        all_pages(|after| self.vm_page(limits::PAGE_ITEMS_MAX, after))
    }

    pub fn show_vm(&self, vm: &Selector) -> Result<Vm, Problem> {
        self.ask(&Call::new(Method::GET, format!("/v1/vms/{vm}")))
    }

    pub fn create_vm(&self, new: &NewVm) -> Result<Vm, Problem> {
        self.ask(
            &Call::new(Method::POST, "/v1/vms")
                .json(&body(new)?)
                .keyed()?,
        )
    }

    pub fn start_vm(&self, vm: &Selector) -> Result<Vm, Problem> {
        self.ask(&Call::new(Method::POST, format!("/v1/vms/{vm}/start")).keyed()?)
    }

    pub fn stop_vm(&self, vm: &Selector, how: StopRequest) -> Result<Vm, Problem> {
        let body = body(&how)?;
        self.ask(
            &Call::new(Method::POST, format!("/v1/vms/{vm}/stop"))
                .json(&body)
                .keyed()?,
        )
    }

    pub fn reset_vm(&self, vm: &Selector) -> Result<Vm, Problem> {
        self.ask(&Call::new(Method::POST, format!("/v1/vms/{vm}/reset")).keyed()?)
    }

    pub fn delete_vm(&self, vm: &Selector) -> Result<Vm, Problem> {
        self.ask(&Call::new(Method::DELETE, format!("/v1/vms/{vm}")).keyed()?)
    }

    /// What the console kept.
    pub fn console_log(&self, vm: &Selector) -> Result<Vec<u8>, Problem> {
        self.send(&Call::new(Method::GET, format!("/v1/vms/{vm}/console/log")))
    }

    /// One page of the list of images.
    pub fn image_page(&self, limit: u32, after: Option<&str>) -> Result<Page<Image>, Problem> {
        self.ask(&Call::new(
            Method::GET,
            page_path("/v1/images", limit, after),
        ))
    }

    /// All images, page by page.
    pub fn list_images(&self) -> Result<Vec<Image>, Problem> {
        all_pages(|after| self.image_page(limits::PAGE_ITEMS_MAX, after))
    }

    pub fn show_image(&self, image: &Name) -> Result<Image, Problem> {
        self.ask(&Call::new(Method::GET, format!("/v1/images/{image}")))
    }

    pub fn create_image(&self, new: &NewImage) -> Result<Image, Problem> {
        self.ask(
            &Call::new(Method::POST, "/v1/images")
                .json(&body(new)?)
                .keyed()?,
        )
    }

    pub fn delete_image(&self, image: &Name) -> Result<Image, Problem> {
        self.ask(&Call::new(Method::DELETE, format!("/v1/images/{image}")).keyed()?)
    }

    pub fn show_blob(&self, digest: Digest) -> Result<Blob, Problem> {
        self.ask(&Call::new(Method::GET, format!("/v1/blobs/{digest}")))
    }

    /// Sends a piece of a blob of `size` bytes.
    pub fn put_blob(
        &self,
        digest: Digest,
        size: u64,
        offset: u64,
        piece: &[u8],
    ) -> Result<Blob, Problem> {
        let path = format!("/v1/blobs/{digest}?offset={offset}&size={size}");
        let content_type = Some("application/octet-stream");
        self.ask(&Call {
            content_type,
            body: piece,
            ..Call::new(Method::PUT, path)
        })
    }

    fn ask<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, Problem> {
        let bytes = self.send(call)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Problem::new(
                Code::Unreachable,
                format!(
                    "{} answered {} with something else: {error}",
                    self.node, call.path
                ),
                "Check that this is a LUC OS node, and that `luc` is as new as it",
            )
        })
    }

    /// Sends it, and again if it got lost: reading, keyed and resumable requests may repeat.
    fn send(&self, call: &Call<'_>) -> Result<Vec<u8>, Problem> {
        let mut tried = 0;
        loop {
            let result = self.send_once(call);
            let again = match &result {
                Err(problem) => matches!(problem.code, Code::Unreachable | Code::Busy),
                Ok(_) => false,
            };
            if !again || tried == self.retries {
                return result;
            }
            tried += 1;
            std::thread::sleep(Duration::from_millis(150) * tried);
        }
    }

    fn send_once(&self, call: &Call<'_>) -> Result<Vec<u8>, Problem> {
        let host = match self.node.host().parse::<Ipv6Addr>() {
            Ok(host) => format!("[{host}]"),
            Err(_) => self.node.host().to_owned(),
        };
        let uri = format!("http://{host}:{}{}", self.node.port(), call.path);
        let mut request = http::Request::builder()
            .method(call.method.clone())
            .uri(uri);
        if let Some(content_type) = call.content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(call.body).map_err(|error| {
            usage(
                format!("The request can't be written: {error}"),
                "Check --node",
            )
        })?;
        let mut response = self
            .agent
            .run(request)
            .map_err(|error| self.unreachable(&error))?;
        self.note_clock(response.headers());
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            Ok(body)
        } else {
            Err(self.refusal(status.as_u16(), &body))
        }
    }

    fn note_clock(&self, headers: &http::HeaderMap) {
        let date = headers.get("date").and_then(|date| date.to_str().ok());
        if let (Some(now), Ok(mut known)) = (date.and_then(http_date), self.node_now.lock()) {
            *known = Some(now);
        }
    }

    fn refusal(&self, status: u16, body: &[u8]) -> Problem {
        serde_json::from_slice(body).unwrap_or_else(|_| {
            Problem::new(
                Code::Unreachable,
                format!(
                    "{} answered with HTTP status {status} and no problem document",
                    self.node
                ),
                "Check that this is the address of a LUC OS node",
            )
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> Problem {
        Problem::new(
            Code::Unreachable,
            format!("No answer from node {}: {error}", self.node),
            "Check the address (--node or LUC_NODE), and that the node is on and says `ready`",
        )
        .with_lost("Whatever runs on the node goes on running.")
    }
}

fn body(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value)
        .map_err(|error| crate::local(format!("Writing JSON failed: {error}"), "Report this bug"))
}

fn page_path(path: &str, limit: u32, after: Option<&str>) -> String {
    match after {
        Some(after) => format!("{path}?limit={limit}&after={after}"),
        None => format!("{path}?limit={limit}"),
    }
}

/// Follows `next` to the end. Names only grow from page to page, so this ends.
fn all_pages<T>(
    page: impl Fn(Option<&str>) -> Result<Page<T>, Problem>,
) -> Result<Vec<T>, Problem> {
    let mut items = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = page(after.as_deref())?;
        items.extend(page.items);
        match page.next {
            Some(next) if after.as_ref().is_none_or(|after| next > *after) => after = Some(next),
            _ => return Ok(items),
        }
    }
}

/// 128 random bits.
fn random_key() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    let got = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    match got {
        Ok(16) => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        _ => Err(crate::local(
            "This machine has no random numbers",
            "Check its kernel",
        )),
    }
}

/// `Wed, 25 Nov 2026 02:21:33 GMT`, the form that HTTP demands of senders.
fn http_date(text: &str) -> Option<Timestamp> {
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split(' ').skip(1);
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let time = words.next()?;
    let month = months.iter().position(|name| *name == month)? + 1;
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_read() {
        let time = http_date("Wed, 25 Nov 2026 02:21:33 GMT").unwrap();
        assert_eq!(time.to_string(), "2026-11-25T02:21:33.000Z");
        for wrong in [
            "",
            "Wed",
            "Wed, 25 Foo 2026 02:21:33 GMT",
            "yesterday at noon in GMT",
        ] {
            assert_eq!(http_date(wrong), None);
        }
    }

    #[test]
    fn keys_differ() {
        assert_ne!(random_key().unwrap(), random_key().unwrap());
    }
}
