//! How often a value was how large, in steps of two.

use super::Counter;

/// `BUCKETS` upper bounds, of which the first is `first` and each is twice the one before, in the
/// unit of what is observed.
#[derive(Debug)]
pub struct Histogram<const BUCKETS: usize> {
    first: u64,
    counts: [Counter; BUCKETS],
    beyond: Counter,
    sum: Counter,
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    pub const fn new(first: u64) -> Self {
        Self {
            first,
            counts: [const { Counter::new() }; BUCKETS],
            beyond: Counter::new(),
            sum: Counter::new(),
        }
    }

    pub fn observe(&self, value: u64) {
        let firsts = value.div_ceil(self.first).max(1);
        // The largest values have no next power of two.
        let bucket = firsts
            .checked_next_power_of_two()
            .map_or(BUCKETS, |bound| bound.trailing_zeros() as usize);
        self.counts.get(bucket).unwrap_or(&self.beyond).increment();
        self.sum.add(value);
    }

    /// Upper bounds, with how many values are at most that.
    pub fn cumulated(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut total = 0;
        self.counts.iter().enumerate().map(move |(index, count)| {
            total += count.get();
            (self.first << index, total)
        })
    }

    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// How many values there were, given how many are in the last bucket of `cumulated`.
    pub fn count(&self, within: u64) -> u64 {
        within + self.beyond.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_the_first_bound_that_is_not_below_it() {
        let histogram = Histogram::<3>::new(1000);
        for value in [0, 1, 1000, 1001, 2000, 2001, 4000, 4001, 1_000_000] {
            histogram.observe(value);
        }
        let cumulated: Vec<_> = histogram.cumulated().collect();
        assert_eq!(cumulated, [(1000, 3), (2000, 5), (4000, 7)]);
        assert_eq!(histogram.count(7), 9);
        assert_eq!(histogram.sum(), 1_014_004);
    }

    #[test]
    fn the_largest_value_is_beyond_all_bounds() {
        let histogram = Histogram::<3>::new(1);
        histogram.observe(u64::MAX);
        assert_eq!(histogram.cumulated().last(), Some((4, 0)));
        assert_eq!(histogram.count(0), 1);
    }
}
