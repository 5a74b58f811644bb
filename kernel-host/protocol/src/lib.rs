//! Ids, units and messages that all rooms share.

#![forbid(unsafe_code)]
