//! What `bench-init` and the rig agree on: the plan that goes in, the lines that come out.
//!
//! Does:      names the words of both, and reads `key=value` lines back.
//! Does not:  measure (`bench-init`) or judge (the rig).
//! Bounds:    a line is cut into words; nothing is kept.
//! Trusts:    nothing: a line is a claim of the machine under test.
//! Start at:  `Fields::parse`.

/// Where the rig puts the plan into the bench machine's initrd. One order a line, words divided
/// by tabs:
/// ```text
/// load       FILE                         load a kernel module
/// pairs      N                            how often each timed program runs
/// time       NAME PROGRAM ARGUMENT...     run to its end, alternating with the others
/// footprint  NAME MIB PROGRAM ARGUMENT... run until the token, look at its memory, end it
/// ```
pub const PLAN: &str = "/bench/plan";
/// Begins each line for the rig on the serial port.
pub const MARK: &str = "LUC-BENCH ";
/// The kind of line of one timed run.
pub const RUN: &str = "run";
/// The kind of line of one look at memory.
pub const FOOTPRINT: &str = "footprint";
/// The kind of line that says what went wrong.
pub const PROBLEM: &str = "problem";
/// The kind of line that ends a plan.
pub const DONE: &str = "done";
/// What the bare init says: the kernel's clock, in milliseconds, at its first instruction.
pub const BARE: &str = "bare";

/// A line for the rig: `LUC-BENCH <kind> <key>=<value> ...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The first word.
    pub kind: &'a str,
    rest: &'a str,
}

impl<'a> Fields<'a> {
    /// Reads a serial line; `None` for any other line.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let (_, rest) = line.split_once(MARK)?;
        let (kind, rest) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        Some(Self { kind, rest })
    }

    /// All that follows the kind.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.rest
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a str> {
        crate::argument(self.rest, key)
    }

    /// The value of a key whose values are numbers.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn a_line_is_a_kind_and_values() {
        let fields = Fields::parse("[ 1.0] LUC-BENCH run program=luc init_us=1500 x=\r");
        let fields = fields.expect("the mark is there");
        assert_eq!((fields.kind, fields.value("program")), ("run", Some("luc")));
        assert_eq!(
            (fields.number("init_us"), fields.number("x")),
            (Some(1500), None)
        );
        assert_eq!(fields.number("exit_us"), None);
        assert_eq!(Fields::parse("LUC-BENCHrun"), None);
    }
}
