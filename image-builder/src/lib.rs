//! Debian packages and our binary in; bootable images out.

#![forbid(unsafe_code)]
