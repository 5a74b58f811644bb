//! Benchmarks: always a ratio against another program in the same run.
//!
//! Does:      measures, prints a table or JSON, and checks against limits.
//! Does not:  fail on slow hosts: limits are ratios, sizes and counts.
//! Bounds:    one benchmark at a time.
//! Trusts:    the clocks of host and machines.
//! Start at:  `boot`.

pub mod vm_start;
