//! A blocking client of the API: one typed method per route, through the first node that answers.
//!
//! Does:      requests, retries that are safe, problems as values. The rig uses it too.
//! Does not:  wait for states (`wait` does) or print.
//! Bounds:    `ANSWER_BYTES_MAX` per answer, `RETRIES_MAX` per request, `CALL_TIMEOUT`.
//! Trusts:    the node to be a node: whatever else answers is told as such.
//! Start at:  `Client::new`.

pub use crate::address::NodeAddress;

use crate::usage;
use protocol::{
    Approve, Blob, Code, Digest, EventPage, Image, Name, NewImage, NewVm, Node, NodeEnergy,
    NodeEntry, OwnerWord, OwnerWordTaken, Page, PendingNode, PowerReply, Problem, Selector,
    SiteEntry, StopRequest, Timestamp, Vm, Wish, limits,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    net::Ipv6Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
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

/// Lists longer than this many pages are no lists of a cluster.
const PAGES_MAX: usize = 2_000;

/// Talks to the cluster through one node. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    /// The doors to try, and which of them answered last.
    doors: Arc<[NodeAddress]>,
    door: Arc<AtomicUsize>,
    /// The node or site that requests are for.
    aim: Wish,
    patience: Duration,
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
        Self::through([node].into(), timeout, retries)
    }

    /// Asks the first of these nodes that answers; there is at least one.
    pub fn through(doors: Arc<[NodeAddress]>, timeout: Duration, retries: u32) -> Self {
        debug_assert!(!doors.is_empty(), "nobody to ask");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("luc/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
            .timeout_global(Some(timeout))
            .build();
        let others = u32::try_from(doors.len() - 1).unwrap_or(u32::MAX);
        Self {
            doors,
            door: Arc::default(),
            aim: Wish::default(),
            patience: timeout,
            agent: config.new_agent(),
            retries: retries.max(others),
            node_now: Arc::default(),
        }
    }

    /// The same, for a node or site of the cluster rather than the one that is asked.
    #[must_use]
    pub fn aimed_at(&self, aim: Wish) -> Self {
        Self {
            aim,
            ..self.clone()
        }
    }

    /// The node that is asked.
    pub fn node(&self) -> &NodeAddress {
        &self.doors[self.door.load(Ordering::Relaxed) % self.doors.len()]
    }

    /// A path with what the request is for.
    fn aimed(&self, path: &str) -> String {
        let mut path = path.to_owned();
        let node = self.aim.node.as_ref().map(|node| ("node", node.as_str()));
        let site = self.aim.site.as_ref().map(|site| ("site", site.as_str()));
        for (name, value) in node.into_iter().chain(site) {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&format!("{name}={value}"));
        }
        path
    }

    /// The longest wait for one answer.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// What the node's clock said with its last answer.
    pub fn node_now(&self) -> Option<Timestamp> {
        self.node_now.lock().ok().and_then(|now| *now)
    }

    pub fn show_node(&self) -> Result<Node, Problem> {
        self.ask(&Call::new(Method::GET, self.aimed("/v1/node")))
    }

    /// What the node draws, and who for.
    pub fn show_energy(&self) -> Result<NodeEnergy, Problem> {
        self.ask(&Call::new(Method::GET, self.aimed("/v1/energy")))
    }

    pub fn power_off(&self) -> Result<PowerReply, Problem> {
        self.ask(&Call::new(Method::POST, self.aimed("/v1/node/poweroff")).keyed()?)
    }

    pub fn reboot(&self) -> Result<PowerReply, Problem> {
        self.ask(&Call::new(Method::POST, self.aimed("/v1/node/reboot")).keyed()?)
    }

    pub fn openapi(&self) -> Result<serde_json::Value, Problem> {
        self.ask(&Call::new(Method::GET, "/v1/openapi.json"))
    }

    /// One page of the list of VMs.
    pub fn vm_page(&self, limit: u32, after: Option<&str>) -> Result<Page<Vm>, Problem> {
        let path = self.aimed(&page_path("/v1/vms", limit, after));
        self.ask(&Call::new(Method::GET, path))
    }

    /// All VMs, page by page.
    pub fn list_vms(&self) -> Result<Page<Vm>, Problem> {
        all_pages(|after| self.vm_page(limits::PAGE_ITEMS_MAX, after))
    }

    pub fn show_vm(&self, vm: &Selector) -> Result<Vm, Problem> {
        self.ask(&Call::new(Method::GET, format!("/v1/vms/{vm}")))
    }

    pub fn create_vm(&self, new: &NewVm) -> Result<Vm, Problem> {
        self.ask(
            &Call::new(Method::POST, self.aimed("/v1/vms"))
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
        let path = self.aimed(&page_path("/v1/images", limit, after));
        self.ask(&Call::new(Method::GET, path))
    }

    /// All images, page by page.
    pub fn list_images(&self) -> Result<Page<Image>, Problem> {
        all_pages(|after| self.image_page(limits::PAGE_ITEMS_MAX, after))
    }

    pub fn show_image(&self, image: &Name) -> Result<Image, Problem> {
        self.ask(&Call::new(
            Method::GET,
            self.aimed(&format!("/v1/images/{image}")),
        ))
    }

    pub fn create_image(&self, new: &NewImage) -> Result<Image, Problem> {
        self.ask(
            &Call::new(Method::POST, self.aimed("/v1/images"))
                .json(&body(new)?)
                .keyed()?,
        )
    }

    pub fn delete_image(&self, image: &Name) -> Result<Image, Problem> {
        let path = self.aimed(&format!("/v1/images/{image}"));
        self.ask(&Call::new(Method::DELETE, path).keyed()?)
    }

    pub fn show_blob(&self, digest: Digest) -> Result<Blob, Problem> {
        self.ask(&Call::new(
            Method::GET,
            self.aimed(&format!("/v1/blobs/{digest}")),
        ))
    }

    /// One page of the list of nodes.
    pub fn node_page(
        &self,
        limit: u32,
        after: Option<&str>,
        site: Option<&Name>,
    ) -> Result<Page<NodeEntry>, Problem> {
        let mut path = page_path("/v1/nodes", limit, after);
        if let Some(site) = site {
            path.push_str(&format!("&site={site}"));
        }
        self.ask(&Call::new(Method::GET, path))
    }

    /// All nodes of a site, or of all.
    pub fn list_nodes(&self, site: Option<&Name>) -> Result<Page<NodeEntry>, Problem> {
        all_pages(|after| self.node_page(limits::PAGE_ITEMS_MAX, after, site))
    }

    /// What is known of a node, also if it does not answer.
    pub fn show_node_entry(&self, node: &Selector) -> Result<NodeEntry, Problem> {
        self.ask(&Call::new(Method::GET, format!("/v1/nodes/{node}")))
    }

    pub fn remove_node(&self, node: &Selector) -> Result<NodeEntry, Problem> {
        self.ask(&Call::new(Method::DELETE, format!("/v1/nodes/{node}")).keyed()?)
    }

    pub fn list_pending(&self) -> Result<Page<PendingNode>, Problem> {
        self.ask(&Call::new(Method::GET, "/v1/nodes/pending"))
    }

    pub fn approve_node(&self, code: &str) -> Result<PendingNode, Problem> {
        let approve = Approve {
            code: code.to_owned(),
        };
        self.ask(
            &Call::new(Method::POST, "/v1/nodes/approve")
                .json(&body(&approve)?)
                .keyed()?,
        )
    }

    /// Hands on a word of the cluster's owner.
    pub fn tell_word(&self, word: &str) -> Result<OwnerWordTaken, Problem> {
        let word = OwnerWord {
            word: word.to_owned(),
        };
        let bytes = body(&word)?;
        let call = Call::new(Method::POST, "/v1/cluster/words");
        self.ask(&call.json(&bytes).keyed()?)
    }

    pub fn list_sites(&self) -> Result<Page<SiteEntry>, Problem> {
        self.ask(&Call::new(Method::GET, "/v1/sites"))
    }

    /// Events after `after`; waits for the first one up to `wait`.
    pub fn events(&self, after: u64, wait: Duration) -> Result<EventPage, Problem> {
        let wait_ms = wait.as_millis();
        let path = format!("/v1/events?after={after}&wait_ms={wait_ms}");
        self.ask(&Call::new(Method::GET, self.aimed(&path)))
    }

    /// Sends a piece of a blob of `size` bytes.
    pub fn put_blob(
        &self,
        digest: Digest,
        size: u64,
        offset: u64,
        piece: &[u8],
    ) -> Result<Blob, Problem> {
        let path = self.aimed(&format!("/v1/blobs/{digest}?offset={offset}&size={size}"));
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
                    self.node(),
                    call.path
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
            if matches!(&result, Err(problem) if problem.code == Code::Unreachable) {
                self.door.fetch_add(1, Ordering::Relaxed); // the next door may open
            }
            std::thread::sleep(Duration::from_millis(150) * tried);
        }
    }

    fn send_once(&self, call: &Call<'_>) -> Result<Vec<u8>, Problem> {
        let node = self.node();
        let host = match node.host().parse::<Ipv6Addr>() {
            Ok(host) => format!("[{host}]"),
            Err(_) => node.host().to_owned(),
        };
        let uri = format!("http://{host}:{}{}", node.port(), call.path);
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
                "Check --via",
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
                    self.node()
                ),
                "Check that this is the address of a LUC OS node",
            )
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> Problem {
        Problem::new(
            Code::Unreachable,
            format!("No answer from node {}: {error}", self.node()),
            "Check the address (--via or LUC_VIA), and that the node is on and says `ready`",
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

/// Follows `next` to the end, and collects what the node said beside the lists.
fn all_pages<T>(
    page: impl Fn(Option<&str>) -> Result<Page<T>, Problem>,
) -> Result<Page<T>, Problem> {
    let mut all = page(None)?;
    for _ in 0..PAGES_MAX {
        let Some(after) = all.next.take() else {
            return Ok(all);
        };
        let page = page(Some(&after))?;
        all.items.extend(page.items);
        all.next = page.next.filter(|next| *next != after);
        for note in page.notes {
            if !all.notes.contains(&note) {
                all.notes.push(note);
            }
        }
    }
    all.notes.push("the list is longer than this".to_owned());
    Ok(all)
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
