//! A request's head as the parser needs it, and what a request turns out to ask.
//!
//! Start at:  `Call`.

use protocol::{Approve, OwnerWord, PageRequest, Request, Selector};

/// What a request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `GET /`: a few words for a person with a browser.
    Home,
    OpenApi,
    ShowNode,
    /// What the node draws, and who it is charged to.
    ShowEnergy,
    /// The same for Prometheus.
    Metrics,
    PowerOff,
    Reboot,
    ListNodes(PageRequest),
    ShowNodeEntry(Selector),
    RemoveNode(Selector),
    ListPending,
    ApproveNode(Approve),
    TellWord(OwnerWord),
    ListSites,
    ListEvents {
        /// Events up to this one are known.
        after: u64,
        wait_ms: u64,
    },
    /// For `cloud::Cloud::handle`.
    Cloud(Request),
    /// Upgrade to WebSocket: binary frames are console bytes both ways.
    Console {
        vm: Selector,
        /// Count of console bytes that the client has already; scrollback starts behind them.
        since: Option<u64>,
        /// Become the writer even if there is one; without it a second client only reads.
        take: bool,
    },
    /// The scrollback as text.
    ConsoleLog {
        vm: Selector,
    },
}

/// The parts of a request's head that matter here.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    pub content_type: Option<&'a str>,
    pub content_length: Option<u64>,
    /// `None` if the header is absent; text that is not ASCII counts as empty, and is refused.
    pub idempotency_key: Option<&'a str>,
    /// The client asks to upgrade to WebSocket.
    pub websocket: bool,
}

impl<'a> From<&'a http::request::Parts> for RequestHead<'a> {
    fn from(parts: &'a http::request::Parts) -> Self {
        let header = |name: &str| {
            parts
                .headers
                .get(name)
                .map(|value| value.to_str().unwrap_or(""))
        };
        let upgrade = header("upgrade").unwrap_or("");
        Self {
            method: parts.method.as_str(),
            target: parts
                .uri
                .path_and_query()
                .map_or("/", |target| target.as_str()),
            content_type: header("content-type"),
            content_length: header("content-length").and_then(|text| text.parse().ok()),
            idempotency_key: header("idempotency-key"),
            websocket: upgrade
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case("websocket")),
        }
    }
}
