//! A generator of random numbers that is the same for ever, so that a seed replays a schedule.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number of `from..until`.
    pub fn within(&mut self, from: u64, until: u64) -> u64 {
        from + self.next() % (until - from)
    }

    /// Returns true in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.within(0, 100) < percent
    }

    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.within(0, from.len() as u64) as usize]
    }

    /// Returns a short time, in microseconds: now and then a hundred times as long as mostly.
    pub fn delay_us(&mut self, usual_us: u64) -> u64 {
        let longest = if self.chance(3) {
            usual_us * 100
        } else {
            usual_us * 2
        };
        self.within(1, longest + 2)
    }
}
