//! A battery beside the panels: what it takes, what it gives, and never both at once.
//!
//! Does:      moves charge by a slot's surplus or lack, within its power, its size and its
//!            reserve; loses what charging and discharging lose.
//! Does not:  plan: it is greedy, charges from surplus and gives when there is a lack.
//! Bounds:    from its reserve to its size.
//! Trusts:    its settings.

use protocol::{Microjoules, Microwatts};

/// A battery's plate, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Battery {
    pub size: Microjoules,
    /// Kept back to ride through a power cut.
    pub reserve: Microjoules,
    pub power: Microwatts,
    /// What arrives of what is put in, and of what is taken out, in permille.
    pub charging_permille: u64,
    pub giving_permille: u64,
    pub holds: Microjoules,
}

/// What became of a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot {
    /// Drawn from the grid.
    pub brown: Microjoules,
    /// Produced and used by nobody.
    pub wasted: Microjoules,
}

impl Battery {
    /// No battery.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            size: Microjoules::ZERO,
            reserve: Microjoules::ZERO,
            power: Microwatts::ZERO,
            charging_permille: 1000,
            giving_permille: 1000,
            holds: Microjoules::ZERO,
        }
    }

    /// A slot of `span_ns` with this production and draw.
    pub fn pass(&mut self, produced: Microjoules, drawn: Microjoules, span_ns: u64) -> Slot {
        let most = self.power.during(span_ns);
        let surplus = produced.saturating_sub(drawn);
        let lack = drawn.saturating_sub(produced);
        let room = self.size.saturating_sub(self.holds);
        let put = surplus
            .min(most)
            .min(scaled(room, 1000, self.charging_permille));
        let stored = scaled(put, self.charging_permille, 1000).min(room);
        let free = self.holds.saturating_sub(self.reserve);
        let given = lack.min(most).min(scaled(free, self.giving_permille, 1000));
        let taken = scaled(given, 1000, self.giving_permille).min(free);
        self.holds = self.holds.saturating_add(stored).saturating_sub(taken);
        Slot {
            brown: lack.saturating_sub(given),
            wasted: surplus.saturating_sub(put),
        }
    }
}

fn scaled(energy: Microjoules, by: u64, of: u64) -> Microjoules {
    let scaled = (u128::from(energy.0) * u128::from(by)).checked_div(of.into());
    Microjoules(scaled.map_or(0, |value| u64::try_from(value).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::{Battery, Microjoules, Microwatts, Slot};

    const HOUR_NS: u64 = 3_600_000_000_000;

    fn wh(count: u64) -> Microjoules {
        Microjoules(count * 3_600_000_000)
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_slot_is_fed_by_sun_then_battery_then_grid() {
        // 200 Wh, 20 of them kept back, 100 W, 90 % in, 80 % out.
        let check = |produced, drawn, holds, brown, wasted, left| {
            let mut battery = Battery {
                size: wh(200), reserve: wh(20), power: Microwatts::from_watts(100),
                charging_permille: 900, giving_permille: 800, holds: wh(holds),
            };
            let slot = battery.pass(wh(produced), wh(drawn), HOUR_NS);
            assert_eq!(slot, Slot { brown: wh(brown), wasted: wh(wasted) });
            assert_eq!(battery.holds, wh(left));
        };
        //   sun  draw  holds | brown wasted left
        check(  0,  100,   20,    100,   0,   20); // night, only the reserve is left
        check( 60,   60,  100,      0,   0,  100); // nothing moves
        check(  0,   90,  120,     10,   0,   20); // gives all it may, 80 of 100 arrive
        check(  0,  190,  200,     90,   0,   75); // gives what its power allows
        check(150,   50,  100,      0,   0,  190); // 90 of 100 arrive
        check(300,   50,  100,      0, 150,  190); // more than it can take
        check(150,   50,  191,      0,  90,  200); // full
    }
}
