//! The rig.

#![forbid(unsafe_code)]
