//! The HTTP API: requests in, answers out.
//!
//! Does:      knows every route, parses a request to a typed `Call`, writes replies and problems,
//!            and describes itself as OpenAPI; all from one table.
//! Does not:  own sockets, decide anything, or keep state.
//! Bounds:    targets and bodies by `protocol::limits`; `body_max` says how much of a body to read.
//! Trusts:    nobody: each malformed request is a problem with advice.
//! Start at:  `ROUTES`, then `parse`.

#![forbid(unsafe_code)]
// A problem ends a request, so its size on the stack costs nothing that matters.
#![allow(clippy::result_large_err)]

mod call;
pub mod fuzz;
mod json;
mod openapi;
mod parse;
mod query;
mod reply;
mod route;
mod schema;
mod target;

pub use call::{Call, RequestHead};
pub use openapi::{document, document_text};
pub use parse::{body_max, operation, parse, too_large, wish};
pub use reply::Reply;
pub use route::{Body, Operation, Param, ROUTES, Route};
