//! [`Random`]: repeatable randomness (SplitMix64: a counter, hashed).

/// A sequence of numbers that follows from its seed.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// How likely something is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bias {
    Never,
    Half,
    Always,
}

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "this is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "no number is below 0");
        self.next() % limit
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Mostly `Half`; the extremes often enough to be met in a few dozen seeds.
    pub(crate) fn bias(&mut self) -> Bias {
        match self.below(6) {
            0 => Bias::Never,
            1 => Bias::Always,
            _ => Bias::Half,
        }
    }

    pub(crate) fn chance(&mut self, bias: Bias) -> bool {
        match bias {
            Bias::Never => false,
            Bias::Half => self.flip(),
            Bias::Always => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let sequence = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
        let mut random = Random::new(3);
        assert!((0..1000).all(|_| random.below(6) < 6));
        assert!(!random.chance(Bias::Never) && random.chance(Bias::Always));
    }
}
