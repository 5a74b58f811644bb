//! How far two nodes are from each other, without a measurement between them.
//!
//! Does:      Vivaldi in integers: each measured round trip draws a node's place a little towards
//!            where it should be; the less sure of the two moves more. A height stands for the
//!            node's own line, which each way from it must pass.
//! Does not:  measure, or decide anything that must be right: a guess is a guess.
//! Bounds:    places, heights and round trips are clamped, whatever a peer says: no value leaves
//!            its range, none can be no number.
//! Trusts:    nobody: one bad round trip moves a place by at most `FORCE_US_MAX`.
//! Start at:  `Coordinates::observe`. Source: Dabek and others, "Vivaldi", 2004.

use protocol::NodeId;
use protocol::peer::Coordinate;

/// No two nodes on this planet are further apart: 5 s.
pub const ROUND_TRIP_US_MAX: u64 = 5_000_000;
const AXIS_US_MAX: i64 = 5_000_000;
/// A line takes some time: heights stay above zero, so that they can grow again.
const HEIGHT_US_MIN: i64 = 50;
const HEIGHT_US_MAX: i64 = 2_000_000;
/// The furthest that one measurement moves a place.
const FORCE_US_MAX: i64 = 200_000;
/// Thousandths: how much of an error one measurement corrects, and of its own it unlearns.
const CORRECTION_MILLI: i64 = 250;
const ERROR_MILLI_MAX: i64 = 1000;
const ERROR_MILLI_MIN: i64 = 5;
/// Errors of shorter round trips, those inside a site above all, are judged as if of this one:
/// clocks tick in milliseconds, and to be off by some of them says nothing about a place.
const SHORT_US: i64 = 10_000;
/// A place that is less sure than this is no ground for a guess.
const UNSURE_MILLI: u16 = 500;

/// What is expected of the round trip between two places, in microseconds, once both are sure
/// enough of theirs.
pub fn guess_us(a: &Coordinate, b: &Coordinate) -> Option<u64> {
    let is_sure = |one: &Coordinate| one.error_milli <= UNSURE_MILLI;
    (is_sure(a) && is_sure(b)).then(|| estimate_us(a, b))
}

fn estimate_us(a: &Coordinate, b: &Coordinate) -> u64 {
    let (a, b) = (clamped(a), clamped(b));
    let between = distance(&difference(&a, &b));
    u64::try_from(between + i64::from(a.height_us) + i64::from(b.height_us)).unwrap_or(0)
}

/// One node's own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coordinates {
    place: Coordinate,
}

impl Default for Coordinates {
    fn default() -> Self {
        Self::new()
    }
}

impl Coordinates {
    /// In the middle, and not sure at all.
    pub const fn new() -> Self {
        Self {
            place: Coordinate {
                axes_us: [0; 3],
                height_us: 100,
                error_milli: 1000,
            },
        }
    }

    pub const fn place(&self) -> Coordinate {
        self.place
    }

    /// A round trip from `me` to `node`, which says that it is at `peer`, took `round_trip_us`.
    pub fn observe(&mut self, me: NodeId, node: NodeId, peer: &Coordinate, round_trip_us: u64) {
        let peer = clamped(peer);
        let measured = i64::try_from(round_trip_us.clamp(1, ROUND_TRIP_US_MAX)).unwrap_or(1);
        let apart = difference(&self.place, &peer);
        let between = distance(&apart);
        let (mine, theirs) = (i64::from(self.place.height_us), i64::from(peer.height_us));
        let off = measured - (between + mine + theirs);
        let (error, peer_error) = (
            i64::from(self.place.error_milli),
            i64::from(peer.error_milli),
        );
        // How much this measurement says: much, if the peer is surer than we are.
        let weight = 1000 * error / (error + peer_error).max(1);
        let sample = (1000 * off.abs() / measured.max(SHORT_US)).min(ERROR_MILLI_MAX);
        let learned = CORRECTION_MILLI * weight / 1000;
        let error = (sample * learned + error * (1000 - learned)) / 1000;
        self.place.error_milli = narrow(error.clamp(ERROR_MILLI_MIN, ERROR_MILLI_MAX));
        let force = (off * learned / 1000).clamp(-FORCE_US_MAX, FORCE_US_MAX);
        self.moved(&apart, between, force, mine + theirs, aside(me, node));
    }

    /// Moves away from the peer by `force`, or towards it; the height takes its share.
    fn moved(&mut self, apart: &[i64; 3], between: i64, force: i64, heights: i64, aside: [i64; 3]) {
        let whole = (between + heights).max(1);
        let height = i64::from(self.place.height_us);
        if between > 0 {
            for (axis, part) in self.place.axes_us.iter_mut().zip(apart) {
                let moved = i64::from(*axis) + force * part / whole;
                *axis = narrow(moved.clamp(-AXIS_US_MAX, AXIS_US_MAX));
            }
        } else {
            // At one place: any direction will do.
            for (axis, part) in self.place.axes_us.iter_mut().zip(aside) {
                let push = force * part / 2;
                *axis = narrow((i64::from(*axis) + push).clamp(-AXIS_US_MAX, AXIS_US_MAX));
            }
        }
        let height = height + force * heights / whole;
        self.place.height_us = narrow(height.clamp(HEIGHT_US_MIN, HEIGHT_US_MAX));
    }
}

/// A direction for a pair of nodes, the opposite one for the other of the two; never nowhere.
fn aside(me: NodeId, node: NodeId) -> [i64; 3] {
    let (one, two) = (me.bytes(), node.bytes());
    let apart = [0, 5, 10].map(|at: usize| i64::from(one[at]) - i64::from(two[at]));
    match apart.map(i64::signum) {
        [0, 0, 0] if one < two => [-1, 0, 0],
        [0, 0, 0] => [1, 0, 0],
        direction => direction,
    }
}

fn narrow<T: TryFrom<i64> + Default>(value: i64) -> T {
    T::try_from(value).unwrap_or_default()
}

/// What a peer may say of itself.
fn clamped(said: &Coordinate) -> Coordinate {
    let axis = |axis: i32| narrow(i64::from(axis).clamp(-AXIS_US_MAX, AXIS_US_MAX));
    Coordinate {
        axes_us: said.axes_us.map(axis),
        height_us: narrow(i64::from(said.height_us).clamp(HEIGHT_US_MIN, HEIGHT_US_MAX)),
        error_milli: narrow(i64::from(said.error_milli).clamp(ERROR_MILLI_MIN, ERROR_MILLI_MAX)),
    }
}

fn difference(a: &Coordinate, b: &Coordinate) -> [i64; 3] {
    let [x, y, z] = [0, 1, 2].map(|at: usize| i64::from(a.axes_us[at]) - i64::from(b.axes_us[at]));
    [x, y, z]
}

/// The length of a vector, rounded down.
fn distance(apart: &[i64; 3]) -> i64 {
    let square: i64 = apart.iter().map(|part| part * part).sum();
    square.isqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcore::dice::Dice;

    fn node(number: usize) -> NodeId {
        let mut dice = Dice::new(number as u64 + 100);
        NodeId::from_bytes([(); 16].map(|()| dice.next_u64().to_le_bytes()[0]))
    }

    /// Nodes in a plane, each with a line: after some hundred measurements guesses are close.
    #[test]
    fn guesses_come_close_to_what_is_measured() {
        let mut dice = Dice::new(1);
        let count = 40;
        let homes: Vec<(i64, i64, i64)> = (0..count)
            .map(|_| {
                let far = |dice: &mut Dice| i64::try_from(dice.below(60_000)).unwrap_or(0);
                (far(&mut dice), far(&mut dice), 300 + far(&mut dice) / 30)
            })
            .collect();
        let truth = |a: usize, b: usize| {
            let (one, two) = (homes[a], homes[b]);
            let between = distance(&[one.0 - two.0, one.1 - two.1, 0]);
            u64::try_from(between + one.2 + two.2).unwrap_or(0)
        };
        let mut nodes = vec![Coordinates::new(); count];
        for _ in 0..400 {
            for a in 0..count {
                let b = usize::try_from(dice.below(count as u64)).unwrap_or(0);
                if a != b {
                    let (peer, round_trip) = (nodes[b].place(), dice.around(truth(a, b)));
                    nodes[a].observe(node(a), node(b), &peer, round_trip);
                }
            }
        }
        let mut off: Vec<u64> = (0..count)
            .flat_map(|a| (0..a).map(move |b| (a, b)))
            .map(|(a, b)| {
                let guess = estimate_us(&nodes[a].place(), &nodes[b].place());
                1000 * guess.abs_diff(truth(a, b)) / truth(a, b).max(10_000)
            })
            .collect();
        off.sort_unstable();
        let (half, most) = (off[off.len() / 2], off[off.len() * 9 / 10]);
        println!("off by {half} thousandths (p50), {most} (p90)");
        assert!(half < 100 && most < 250, "{half} {most}");
    }

    /// consul 3023, serf 488: one absurd measurement infects every place.
    #[test]
    fn absurd_measurements_stay_in_their_range_and_are_forgotten() {
        let absurd = Coordinate {
            axes_us: [i32::MIN, i32::MAX, i32::MIN],
            height_us: u32::MAX,
            error_milli: 0,
        };
        let good = Coordinate {
            axes_us: [10_000, 0, 0],
            height_us: 100,
            error_milli: 50,
        };
        let mut one = Coordinates::new();
        for peer in [absurd, Coordinate::default(), good] {
            for round_trip in [0, 1, u64::MAX, u64::MAX / 2] {
                for _ in 0..1000 {
                    one.observe(node(1), node(2), &peer, round_trip);
                }
                let place = one.place();
                assert_eq!(place, clamped(&place));
                assert!(estimate_us(&place, &absurd) < 30_000_000);
            }
        }
        for _ in 0..2000 {
            one.observe(node(1), node(2), &good, 10_000);
        }
        let guess = estimate_us(&one.place(), &good);
        assert!(guess.abs_diff(10_000) < 1000, "{guess}");
    }
}
