//! What users do with the cluster's table during a random history.
//!
//! Does:      draws from dice of its own, so that the rest of a seed's history stays as it is.
//! Start at:  `orders`.

use super::{Act, Deed, Shape, Work};
use crate::ids::mix;
use netcore::dice::Dice;

/// Keys that are used: few, so that authors meet.
const KEYS: u64 = 6;
const ORDERS_MAX: u64 = 24;

/// Orders between `first_ms` and `until_ms`, in no order; none in a third of all histories.
pub fn orders(seed: u64, shape: &Shape, first_ms: u64, until_ms: u64) -> Vec<Act> {
    let mut dice = Dice::new(mix(seed ^ 0x7ab1e));
    let count = match dice.below(3) {
        0 => 0,
        _ => dice.below(ORDERS_MAX),
    };
    let hosts = u64::from(shape.hosts());
    let number = |dice: &mut Dice, limit| u32::try_from(dice.below(limit)).unwrap_or(0);
    let order = |dice: &mut Dice| {
        let (host, key) = (number(dice, hosts), number(dice, KEYS));
        let work = match dice.below(8) {
            0..4 => Work::Put { host, key },
            4 => Work::Remove { host, key },
            _ => Work::Find { host, key },
        };
        Act {
            at_ms: first_ms + dice.below(until_ms.saturating_sub(first_ms)),
            deed: Deed::Work(work),
        }
    };
    (0..count).map(|_| order(&mut dice)).collect()
}
