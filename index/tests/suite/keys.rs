//! Key sets that stress different parts of the index; deterministic from a seed.

/// A small generator, so that tests depend on nothing.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// The names of all sets.
pub const SETS: [&str; 13] = [
    "sequential",
    "uniform",
    "lognormal",
    "bursts",
    "log_uniform",
    "zipf_gaps",
    "cantor",
    "high_dense",
    "exponential",
    "growing_gaps",
    "extremes",
    "two_scales",
    "tenants",
];

/// About `count` distinct keys of a set, ascending.
pub fn key_set(name: &str, count: usize, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let mut next: Box<dyn FnMut(u64) -> u64> = match name {
        "sequential" => Box::new(|i| i),
        "uniform" => Box::new(move |_| random.next()),
        "lognormal" => Box::new(move |_| {
            let normal: f64 = (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
            ((normal * 2.0).exp() * 1e9) as u64
        }),
        "bursts" => {
            let mut at = 1_700_000_000_000_000_000;
            Box::new(move |i| {
                let pause = i % 100 == 0;
                at += if pause { random.below(1_000_000_000) } else { 1 + random.below(900) };
                at
            })
        }
        "log_uniform" => Box::new(move |_| {
            let bits = random.below(64);
            (1 << bits) | (random.next() & ((1 << bits) - 1))
        }),
        "zipf_gaps" => {
            let mut at = 0u64;
            Box::new(move |_| {
                at = at.wrapping_add((1.0 / (random.unit() + 1e-7).powf(1.3)) as u64 + 1);
                at
            })
        }
        "cantor" => Box::new(move |_| {
            let digits = random.below(100_000_000);
            (0..8).fold(0, |key, i| (key << 8) | (0x30 + digits / 10u64.pow(7 - i) % 10))
        }),
        "high_dense" => Box::new(|i| (1 << 63) + i),
        "exponential" => Box::new(move |i| {
            let bits = (i % 64) as u32;
            (1u64 << bits).wrapping_add(i / 64)
        }),
        // Each gap is a little wider than the one before, a trillion times in the end.
        "growing_gaps" => {
            let mut at = 0u64;
            Box::new(move |i| {
                at += 1 + (40.0 * i as f64 / count as f64).exp2() as u64;
                at
            })
        }
        "extremes" => Box::new(|i| if i % 2 == 0 { i / 2 } else { u64::MAX - i / 2 }),
        "two_scales" => Box::new(move |i| (i % 1000) << 44 | random.below(1 << (i % 40))),
        "tenants" => Box::new(|i| (i % 37) << 40 | (i / 37)),
        other => panic!("unknown set {other}"),
    };
    let mut keys: Vec<u64> = (0..count as u64).map(&mut next).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// About `count` keys in runs upwards and downwards, each somewhere else, near the run before or
/// amid older keys; with small and wide gaps, which may widen or shrink along the way or jump.
pub fn runs_up_and_down(count: usize, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let mut keys = Vec::with_capacity(count);
    let mut at = random.next();
    while keys.len() < count {
        match random.below(4) {
            0 => at = random.next(),
            1 => at = at.wrapping_add(random.next() >> random.below(64)),
            2 => at = at.wrapping_sub(random.next() >> random.below(64)),
            _ if keys.is_empty() => {}
            _ => at = keys[random.below(keys.len() as u64) as usize],
        }
        let (down, jumps) = (random.below(3) > 0, random.below(3) == 0);
        let (mut bits, trend) = (random.below(50), random.below(3));
        for step in 0..200 + random.below(count as u64 / 8) {
            if step % 1000 == 999 {
                bits = [bits, bits.saturating_sub(1), (bits + 1).min(55)][trend as usize];
            }
            let mut gap = 1 + (random.next() & ((1 << bits) - 1));
            if jumps && random.below(100) == 0 {
                gap = gap.saturating_mul(1000);
            }
            let next = if down { at.checked_sub(gap) } else { at.checked_add(gap) };
            let Some(next) = next else { break };
            at = next;
            keys.push(at);
        }
    }
    keys
}
