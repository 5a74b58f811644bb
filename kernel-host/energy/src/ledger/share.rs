//! One interval's energy shared out to the last microjoule.
//!
//! Does:      splits the host's energy into idle and active; idle by reserved vCPUs, active by
//!            weighted processor time; the parts sum to the whole exactly.
//! Does not:  remember anything, or know where weights come from (`slices`).
//! Bounds:    one part for each claim, and two more.
//! Trusts:    the caller for weights and reservations; whatever they are, the sum holds.
//! Start at:  `shared`.

use protocol::Microjoules;

/// What one account brings to an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claim {
    /// Weighted processor time.
    pub weight: u64,
    /// vCPUs that are kept for it.
    pub reserved: u32,
}

/// What was drawn and what the machine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub host: Microjoules,
    /// What it would have drawn without any load.
    pub idle: Microjoules,
    /// Processor time that nobody here claims: the kernel's, other programs'.
    pub unclaimed: u64,
    /// vCPUs that the machine can be sold as.
    pub capacity: u32,
}

/// An account's part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    pub active: Microjoules,
    pub idle: Microjoules,
}

/// All parts of an interval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shared {
    /// In the order of the claims.
    pub parts: Vec<Part>,
    pub unsold: Microjoules,
    pub unknown: Microjoules,
}

/// Shares out an interval. Sum of all = `host`, always.
#[must_use]
pub fn shared(interval: &Interval, claims: &[Claim]) -> Shared {
    let idle = interval.idle.min(interval.host);
    let active = interval.host.saturating_sub(idle);
    let reserved = claims.iter().map(|claim| u64::from(claim.reserved));
    // More may be sold than there is; then nothing is unsold.
    let unsold = u64::from(interval.capacity).saturating_sub(reserved.clone().sum());
    let idle_parts = largest_remainder(idle.0, reserved.chain([unsold]));
    let weights = claims.iter().map(|claim| claim.weight);
    let active_parts = largest_remainder(active.0, weights.chain([interval.unclaimed]));
    let parts = idle_parts.iter().zip(&active_parts).take(claims.len());
    let parts = parts.map(|(idle, active)| Part {
        active: Microjoules(*active),
        idle: Microjoules(*idle),
    });
    Shared {
        parts: parts.collect(),
        unsold: Microjoules(idle_parts[claims.len()]),
        unknown: Microjoules(active_parts[claims.len()]),
    }
}

/// Splits `total` by weights: everyone gets the whole part below theirs, then one unit each to the
/// largest remainders, the earlier one first. Without any weight the last one gets all.
fn largest_remainder(total: u64, weights: impl Iterator<Item = u64> + Clone) -> Vec<u64> {
    let sum: u128 = weights.clone().map(u128::from).sum();
    let mut parts = Vec::with_capacity(weights.size_hint().0);
    let mut rests = Vec::with_capacity(weights.size_hint().0);
    let mut left = total;
    for weight in weights {
        let product = u128::from(total) * u128::from(weight);
        let part = product.checked_div(sum).unwrap_or(0);
        // Less than `total`, which is a u64.
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        rests.push((product.checked_rem(sum).unwrap_or(0), parts.len()));
        parts.push(part);
        left -= part;
    }
    if sum == 0 {
        if let Some(last) = parts.last_mut() {
            *last = total;
        }
        return parts;
    }
    rests.sort_by(|(a, at), (b, bt)| b.cmp(a).then(at.cmp(bt)));
    for (_, at) in rests
        .into_iter()
        .take(usize::try_from(left).unwrap_or(usize::MAX))
    {
        parts[at] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(shared: &Shared) -> u64 {
        let parts = shared.parts.iter().map(|part| part.active.0 + part.idle.0);
        parts.sum::<u64>() + shared.unsold.0 + shared.unknown.0
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn idle_goes_by_reservation_and_the_rest_by_work() {
        //     host idle unclaimed capacity   weight,reserved      |  active,idle   unsold, unknown
        check([100, 40,  0, 4], &[(10, 1), (30, 1)],     &[(15, 10), (45, 10)],   (20, 0));
        check([100, 40, 20, 4], &[(10, 1), (30, 3)],     &[(10, 10), (30, 30)],   (0, 20)); // all sold
        check([100, 40,  0, 2], &[( 1, 4), ( 1, 4)],     &[(30, 20), (30, 20)],   (0, 0)); // oversold
        check([ 30, 40,  0, 4], &[(10, 1)],              &[(0, 8)],               (22, 0)); // below idle
        check([100, 40,  0, 4], &[(0, 1)],               &[(0, 10)],              (30, 60)); // nobody worked
        check([100, 40,  7, 0], &[],                     &[],                     (40, 60));
        check([ 10,  0,  0, 0], &[(1, 0), (1, 0), (1, 0)], &[(4, 0), (3, 0), (3, 0)], (0, 0));
    }

    fn check(
        [host, idle, unclaimed, capacity]: [u64; 4],
        claims: &[(u64, u32)],
        parts: &[(u64, u64)],
        rest: (u64, u64),
    ) {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        let claims: Vec<_> = claims
            .iter()
            .map(|(weight, reserved)| Claim {
                weight: *weight,
                reserved: *reserved,
            })
            .collect();
        let (host, idle) = (Microjoules(host), Microjoules(idle));
        let interval = Interval {
            host,
            idle,
            unclaimed,
            capacity,
        };
        let found = shared(&interval, &claims);
        let told: Vec<_> = found
            .parts
            .iter()
            .map(|part| (part.active.0, part.idle.0))
            .collect();
        let found_rest = (found.unsold.0, found.unknown.0);
        assert_eq!((&told[..], found_rest), (parts, rest));
        assert_eq!(sum(&found), host.0);
    }

    proptest! {
        #[test]
        fn the_sum_is_the_host_whatever_is_claimed(
            host: u64,
            idle: u64,
            unclaimed: u64,
            capacity: u32,
            claims in proptest::collection::vec((any::<u64>(), any::<u32>()), 0..60),
        ) {
            let claims: Vec<_> = claims
                .into_iter()
                .map(|(weight, reserved)| Claim { weight, reserved })
                .collect();
            let (host, idle) = (Microjoules(host), Microjoules(idle));
            let interval = Interval { host, idle, unclaimed, capacity };
            prop_assert_eq!(sum(&shared(&interval, &claims)), host.0);
        }
    }
}
