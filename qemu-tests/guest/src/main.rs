//! The program inside test guests.

#![forbid(unsafe_code)]

fn main() {}
