//! Small random numbers for jitter and choice.
//!
//! Never for secrets, tokens or nonces that must not be guessed.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

/// A SplitMix64 generator (Steele, Lea and Flood, 2014): one word of state,
/// good enough to spread retries.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Seeded by the operating system, through the hash map's random keys.
    #[must_use]
    pub fn from_os() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// The next number, any of 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number in `0..bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_repeat_by_seed_and_keep_their_bound() {
        let (mut a, mut b) = (Random::seeded(7), Random::seeded(7));
        let mut seen = [false; 5];
        for _ in 0..200 {
            let number = a.below(5);
            assert_eq!(number, b.below(5));
            seen[usize::try_from(number).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(a.below(0), 0);
        assert_ne!(Random::from_os().next_u64(), Random::from_os().next_u64());
    }
}
