//! The HTTP API: routes, OpenAPI, problems; no sockets.

#![forbid(unsafe_code)]
