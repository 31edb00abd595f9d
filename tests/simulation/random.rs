//! Choices of a seed.

use std::ops::Range;

/// A source of choices that are the same whenever the seed is.
pub struct Random(fastrand::Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Another source, for part of a history: what is left out of the one does not move the choices of the other.
    pub fn of_part(seed: u64, part: u64) -> Self {
        Self::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part.wrapping_mul(0xd1b5_4a32_d192_ed03) ^ part)
    }

    pub fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub fn within(&mut self, range: Range<usize>) -> usize {
        self.0.usize(range)
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.0.usize(..100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.within(0..of.len())]
    }

    /// One of the choices, each as often as its weight says.
    pub fn weighed<T: Clone>(&mut self, choices: &[(usize, T)]) -> T {
        let mut at = self.within(0..choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            match at.checked_sub(*weight) {
                None => return choice.clone(),
                Some(rest) => at = rest,
            }
        }
        unreachable!("the weights add up")
    }
}
