//! One range against another: equal, split further, or listed mark by mark.
//!
//! Does:      answers each range of a peer: with nothing, with the sums of its 16 parts, or with
//!            marks; asks for marks that we lack.
//! Does not:  send records (`Recon::deliver`).
//! Bounds:    `LISTED_MAX` marks before a range is split, `WANTED_MAX` in one wish.
//! Trusts:    nobody: ranges that can't be are skipped.
//! Start at:  `Recon::compare`.

use super::{ASKED_MAX, ASKED_MS, Recon, send};
use crate::context::Context;
use crate::store::authority::CLASSES;
use crate::store::{Store, Table};
use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::recon::{Held, MARKS_MAX, Mark, RANGES_MAX, Range, ReconMessage};
use protocol::peer::{Channel, Realm};

/// A range with no more marks than this is listed. Mostly two sets differ in a few records that are
/// on their way, so a list costs more than one more round.
const LISTED_MAX: u32 = 16;
/// Each split makes 16 ranges.
const SPLIT_BITS: u8 = 4;
/// Marks in one wish.
const WANTED_MAX: usize = 1024;

/// First and last mark of a range. `None`: there is no such range.
fn bounds(start: Mark, bits: u8) -> Option<(Mark, Mark)> {
    let rest = u32::from(64_u8.checked_sub(bits)?);
    let low = Mark::MAX.checked_shr(64 - rest).unwrap_or(0);
    (start & low == 0).then_some((start, start | low))
}

/// What we hold in a range, listed if that is short.
fn held(table: &Table, class: usize, first: Mark, last: Mark) -> Held {
    let sum = table.sum_of(class, first, last);
    if sum.count <= LISTED_MAX {
        Held::Marks(Few::new(table.marks_of(class, first, last)))
    } else {
        Held::Sum(sum)
    }
}

/// The 16 parts of a range.
fn parts(table: &Table, class: usize, start: Mark, bits: u8) -> Vec<Range> {
    let inner = bits + SPLIT_BITS;
    (0..1_u64 << SPLIT_BITS)
        .filter_map(|part| {
            let start = start | part << (64 - inner);
            let (first, last) = bounds(start, inner)?;
            Some(range(class, start, inner, held(table, class, first, last)))
        })
        .collect()
}

fn range(class: usize, start: Mark, bits: u8, held: Held) -> Range {
    Range {
        class: u8::try_from(class).unwrap_or(u8::MAX),
        start,
        bits,
        held,
    }
}

/// Tells a peer what we hold of realms that it holds other sets of.
pub fn describe(cx: &mut Context<'_>, store: &Store, to: NodeId, realms: &[Realm]) {
    let nothing = Table::default();
    for realm in realms {
        let table = store.table(*realm).unwrap_or(&nothing);
        let mut ranges = Vec::new();
        for class in 0..CLASSES {
            match held(table, class, 0, Mark::MAX) {
                Held::Sum(_) => ranges.extend(parts(table, class, 0, 0)),
                listed => ranges.push(range(class, 0, 0, listed)),
            }
        }
        send_ranges(cx, to, *realm, ranges);
    }
}

fn send_ranges(cx: &mut Context<'_>, to: NodeId, realm: Realm, ranges: Vec<Range>) {
    let mut ranges = ranges.into_iter().peekable();
    while ranges.peek().is_some() {
        let few = Few::new(ranges.by_ref().take(RANGES_MAX));
        send(
            cx,
            to,
            Channel::Stream,
            ReconMessage::Ranges { realm, ranges: few },
        );
    }
}

impl Recon {
    /// A peer's ranges of one realm against ours.
    pub(super) fn compare(
        &mut self,
        cx: &mut Context<'_>,
        store: &Store,
        from: NodeId,
        realm: Realm,
        ranges: &[Range],
    ) {
        let nothing = Table::default();
        let table = store.table(realm).unwrap_or(&nothing);
        let mut answer: Vec<Range> = Vec::new();
        let mut wanted: [Vec<Mark>; CLASSES] = Default::default();
        for theirs in ranges {
            let class = usize::from(theirs.class);
            let Some((first, last)) = bounds(theirs.start, theirs.bits) else {
                continue;
            };
            let Some(wishes) = wanted.get_mut(class) else {
                continue;
            };
            match &theirs.held {
                Held::Sum(sum) if *sum == table.sum_of(class, first, last) => {}
                Held::Sum(_) => match held(table, class, first, last) {
                    Held::Sum(_) if theirs.bits + SPLIT_BITS <= 60 => {
                        answer.extend(parts(table, class, theirs.start, theirs.bits));
                    }
                    ours => answer.push(range(class, theirs.start, theirs.bits, ours)),
                },
                Held::Marks(marks) => {
                    let mut theirs_sorted = marks.as_slice().to_vec();
                    theirs_sorted.sort_unstable();
                    let ours = table.marks_of(class, first, last);
                    let lacking = ours.filter(|mark| theirs_sorted.binary_search(mark).is_err());
                    let lacking = Few::<Mark, MARKS_MAX>::new(lacking);
                    if !lacking.as_slice().is_empty() {
                        let held = Held::Lacking(lacking);
                        answer.push(range(class, theirs.start, theirs.bits, held));
                    }
                    self.wish(cx, table, class, marks.as_slice(), wishes);
                }
                Held::Lacking(marks) => self.wish(cx, table, class, marks.as_slice(), wishes),
            }
        }
        self.send_wishes(cx, from, realm, wanted);
        send_ranges(cx, from, realm, answer);
    }

    /// Of these marks those that we lack, have not asked for and have not refused.
    fn wish(
        &mut self,
        cx: &Context<'_>,
        table: &Table,
        class: usize,
        marks: &[Mark],
        wishes: &mut Vec<Mark>,
    ) {
        let now_ms = cx.now_ms();
        for mark in marks {
            let is_full = self.asked.len() >= ASKED_MAX || wishes.len() >= WANTED_MAX;
            if is_full || table.holds(class, *mark) || self.is_refused(now_ms, *mark) {
                continue;
            }
            if self.asked.get(mark).is_some_and(|until| *until > now_ms) {
                continue;
            }
            self.asked.insert(*mark, now_ms + ASKED_MS);
            wishes.push(*mark);
        }
    }

    fn send_wishes(
        &mut self,
        cx: &mut Context<'_>,
        to: NodeId,
        realm: Realm,
        wanted: [Vec<Mark>; CLASSES],
    ) {
        for (class, marks) in (0u8..).zip(wanted) {
            if marks.is_empty() {
                continue;
            }
            self.counters.wanted += marks.len() as u64;
            let marks = Few::new(marks);
            send(
                cx,
                to,
                Channel::Stream,
                ReconMessage::Want {
                    realm,
                    class,
                    marks,
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_range_is_all_marks_with_its_first_bits() {
        //    start             bits  first and last
        check(0,                   0, Some((0, u64::MAX)));
        check(0x3 << 60,           4, Some((0x3 << 60, 0x3fff_ffff_ffff_ffff)));
        check(7,                  64, Some((7, 7)));
        check(7,                   4, None);
        check(0,                  65, None);
    }

    fn check(start: u64, bits: u8, expected: Option<(u64, u64)>) {
        assert_eq!(bounds(start, bits), expected, "{start:x}/{bits}");
    }
}
