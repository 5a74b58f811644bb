//! The node's event loop: performs what the cores ask.

#![forbid(unsafe_code)]
