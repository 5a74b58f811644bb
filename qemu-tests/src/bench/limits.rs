//! What LUC OS promises in numbers, and whether this run kept it.
//!
//! Does:      compares a report with each limit; what was not measured counts as not kept.
//! Does not:  compare with other runs or other hosts: limits are ratios and sizes.
//! Bounds:    the table below.
//! Trusts:    the report.
//! Start at:  `judge`.

use serde::Serialize;

use super::report::Report;

/// The UKI, in bytes: Talos has about 100 MB.
const UKI_BYTES_MAX: f64 = 32e6;
/// Hand-off to ready over hand-off to a trivial init.
const READY_RATIO_MAX: f64 = 2.5;
/// Resident memory of an idle node's own processes, in bytes.
const IDLE_BYTES_MAX: f64 = 48e6;
/// A VM's start over QEMU microvm's: the goal, not yet a limit.
const START_RATIO_GOAL: f64 = 0.7;

/// A limit and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// What is limited, as a sentence names it.
    pub what: &'static str,
    /// The most that is allowed.
    pub limit: f64,
    /// What was measured, if it was.
    pub measured: Option<f64>,
    /// The unit of both; empty for ratios.
    pub unit: &'static str,
    /// Whether `--check` fails on it.
    pub binding: bool,
    /// Whether it is kept.
    pub kept: bool,
}

impl Verdict {
    pub(super) fn new(
        what: &'static str,
        unit: &'static str,
        limit: f64,
        measured: Option<f64>,
    ) -> Self {
        Self {
            what,
            limit,
            measured,
            unit,
            binding: true,
            kept: measured.is_some_and(|measured| measured <= limit),
        }
    }

    /// A goal is told, and fails nothing.
    fn goal(mut self) -> Self {
        self.binding = false;
        self
    }

    /// Whether `--check` must fail.
    #[must_use]
    pub fn falls_short(&self) -> bool {
        self.binding && !self.kept
    }
}

/// All verdicts on a report.
#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52 bytes")]
#[must_use]
pub fn judge(report: &Report) -> Vec<Verdict> {
    let uki = report.image.as_ref().and_then(|image| image.uki());
    let boot = report.boot.as_ref();
    let ready = boot.and_then(|boot| boot.ready_ratio);
    let idle = boot.and_then(|boot| boot.idle.as_ref());
    let start = report.start.as_ref().and_then(|start| start.init_ratio);
    let mega = |bytes: u64| bytes as f64 / 1e6;
    let table = [
        Verdict::new("size of the UKI", "MB", UKI_BYTES_MAX / 1e6, uki.map(mega)),
        Verdict::new(
            "hand-off to ready, over a bare kernel's to its init",
            "",
            READY_RATIO_MAX,
            ready.map(|ratio| ratio.median),
        ),
        Verdict::new(
            "resident memory of an idle node's processes",
            "MB",
            IDLE_BYTES_MAX / 1e6,
            idle.map(|idle| mega(idle.resident_bytes)),
        ),
        Verdict::new(
            "VM start to the guest's init, over QEMU microvm's",
            "",
            START_RATIO_GOAL,
            start.map(|ratio| ratio.median),
        )
        .goal(),
    ];
    table.into()
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::bench::report::Report;
    use crate::bench::sizes::{Size, Sizes};
    use crate::bench::starts::Starts;

    fn report(uki: u64) -> Report {
        let files = vec![Size {
            name: "luc.efi".to_owned(),
            bytes: uki,
        }];
        Report {
            image: Some(Sizes {
                files,
                ..Sizes::default()
            }),
            start: Some(Starts::default()),
            ..Report::default()
        }
    }

    #[test]
    fn a_limit_is_kept_up_to_its_last_byte_and_never_without_a_measurement() {
        let kept = |uki| {
            judge(&report(uki))
                .iter()
                .map(|v| v.kept)
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(32_000_000), [true, false, false, false]);
        assert_eq!(kept(32_000_001), [false; 4]);
    }

    #[test]
    fn a_goal_that_is_missed_fails_nothing() {
        let short: Vec<_> = judge(&report(1))
            .into_iter()
            .filter(|v| v.falls_short())
            .collect();
        assert!(
            short
                .iter()
                .all(|verdict| !verdict.what.contains("microvm")),
            "{short:?}"
        );
        assert_eq!(short.len(), 2, "{short:?}");
    }
}
