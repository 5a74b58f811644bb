//! Answers and problems to HTTP.
//!
//! Does:      status, headers and body of each reply.
//! Start at:  `Reply::answer`.

use protocol::{Answer, Code, Node, PowerReply, Problem, problem};
use serde::Serialize;

/// What goes back. HTTP itself (`Content-Length`, `Date`, connection) is the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

const JSON: &str = "application/json";

impl Reply {
    /// The answer of `cloud::Cloud::handle`.
    pub fn answer(answer: &Answer) -> Self {
        match answer {
            Answer::Vms(page) => Self::json(200, page),
            Answer::Images(page) => Self::json(200, page),
            Answer::Image(image) | Answer::ImageDeleted(image) => Self::json(200, image),
            Answer::Blob(blob) => Self::json(200, blob),
            Answer::ImageCreated(image) => {
                Self::json(201, image).with("location", format!("/v1/images/{}", image.name))
            }
            Answer::VmCreated(vm) => {
                Self::json(202, vm).with("location", format!("/v1/vms/{}", vm.id))
            }
            Answer::VmAccepted(vm) | Answer::VmDeleted(vm) => Self::json(202, vm),
            Answer::Vm(vm) => Self::json(200, vm),
        }
    }

    pub fn node(node: &Node) -> Self {
        Self::json(200, node)
    }

    pub fn power(reply: &PowerReply) -> Self {
        Self::json(202, reply)
    }

    /// Nodes, sites, pending machines or events.
    pub fn listed(value: &impl Serialize) -> Self {
        Self::json(200, value)
    }

    /// Accepted, and going on.
    pub fn accepted(value: &impl Serialize) -> Self {
        Self::json(202, value)
    }

    pub fn openapi() -> Self {
        let body = crate::document_text().as_bytes().to_vec();
        Self {
            status: 200,
            content_type: JSON,
            headers: Vec::new(),
            body,
        }
    }

    pub fn home(node_name: &str) -> Self {
        Self::text(format!(
            "This is LUC OS, node {node_name}.\n\n\
             API:          GET /v1/openapi.json describes it\n\
             State:        GET /v1/node\n\
             Command line: luc --via <this address> node show\n"
        ))
    }

    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self {
            status: 200,
            content_type,
            headers: Vec::new(),
            body: text.into(),
        }
    }

    /// A refusal. The id names the request in the node's log.
    pub fn problem(problem: impl Into<Problem>, request_id: &str) -> Self {
        let mut problem: Problem = problem.into();
        problem.request_id = Some(request_id.to_owned());
        let mut reply = Self::json(problem.status, &problem);
        reply.content_type = problem::MEDIA_TYPE;
        if let Some(allow) = problem.allow {
            reply = reply.with("allow", allow);
        }
        match problem.code {
            Code::UpgradeNeeded => reply.with("upgrade", "websocket".to_owned()),
            Code::Busy | Code::GoingDown => reply.with("retry-after", "1".to_owned()),
            _ => reply,
        }
    }

    fn json(status: u16, value: &impl Serialize) -> Self {
        let headers = vec![("cache-control", "no-store".to_owned())];
        match serde_json::to_vec_pretty(value) {
            Ok(mut body) => {
                body.push(b'\n');
                Self {
                    status,
                    content_type: JSON,
                    headers,
                    body,
                }
            }
            // Our own types always serialise: no map keys that aren't strings, no failing impl.
            Err(error) => Self {
                status: 500,
                content_type: "text/plain; charset=utf-8",
                headers,
                body: format!("writing the answer failed: {error}\n").into_bytes(),
            },
        }
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// As the `http` crate wants it.
    pub fn into_http(self) -> http::Response<Vec<u8>> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = http::StatusCode::from_u16(self.status)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static(self.content_type),
        );
        for (name, value) in self.headers {
            if let Ok(value) = http::HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}
