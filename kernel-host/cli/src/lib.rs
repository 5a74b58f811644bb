//! The luc commands, the renderer and the API client.

#![forbid(unsafe_code)]
