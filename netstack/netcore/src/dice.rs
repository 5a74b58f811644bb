//! Random numbers from a seed.
//!
//! Does:      spreads retries and picks transaction numbers; the same seed gives the same row.
//! Does not:  keep secrets: anyone who sees a few numbers knows the rest.
//! Bounds:    eight bytes of state.
//! Trusts:    the caller for a seed that differs from machine to machine.
//! Start at:  `Dice::below`.

/// An xorshift64* generator.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Any seed will do; zero, which the generator can't leave, is replaced.
    pub fn new(seed: u64) -> Dice {
        let mut dice = Dice(seed ^ 0x9e37_79b9_7f4a_7c15);
        if dice.0 == 0 {
            dice.0 = 1;
        }
        dice.next_u64(); // neighbouring seeds start far apart
        dice
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn next_u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next_u64().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// A number below `limit`; zero for a limit of zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next_u64() % limit.max(1)
    }

    /// `value`, up to a quarter more or less.
    pub fn around(&mut self, value: u64) -> u64 {
        value - value / 4 + self.below(value / 2 + 1)
    }
}
