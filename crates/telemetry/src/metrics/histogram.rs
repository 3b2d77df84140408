//! A power-of-two histogram.

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

    /// Returns the number of all values; `within` is the number in the last bucket of `cumulated`.
    pub fn count(&self, within: u64) -> u64 {
        within + self.beyond.get()
    }

    /// Returns the values so far, to be compared with later ones.
    pub fn distribution(&self) -> Distribution {
        let counts = self.counts.iter().chain([&self.beyond]);
        Distribution {
            first: self.first,
            counts: counts.map(Counter::get).collect(),
            sum: self.sum.get(),
        }
    }
}

/// The values of a time, by the buckets of a histogram.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    first: u64,
    /// The last one is beyond all bounds.
    counts: Vec<u64>,
    sum: u64,
}

impl Distribution {
    /// Returns the values that came after `before`, which is of the same histogram.
    pub fn since(&self, before: &Self) -> Self {
        let earlier = before.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(earlier);
        Self {
            first: self.first,
            counts: counts.map(|(now, then)| now.saturating_sub(then)).collect(),
            sum: self.sum.saturating_sub(before.sum),
        }
    }

    /// Values of several histograms with the same bounds.
    pub fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            *self = other.clone();
            return;
        }
        debug_assert_eq!(
            (self.first, self.counts.len()),
            (other.first, other.counts.len())
        );
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.sum += other.sum;
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// About the value that this part of all values is not above: within its bucket they are taken as
    /// spread evenly, as Prometheus does. What is beyond all bounds counts as the last one.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = part * count as f64;
        let mut below = 0;
        for (index, &inside) in self.counts.iter().enumerate() {
            if inside > 0 && (below + inside) as f64 >= rank {
                let bounds = self.counts.len() - 1;
                if index == bounds {
                    break;
                }
                let upper = (self.first << index) as f64;
                let lower = if index == 0 { 0.0 } else { upper / 2.0 };
                let share = (rank - below as f64).max(0.0) / inside as f64;
                return Some(lower + (upper - lower) * share);
            }
            below += inside;
        }
        let last = self.counts.len().saturating_sub(2);
        Some((self.first << last) as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A quantile is in the bucket of the value that sorting finds.
        #[test]
        fn a_quantile_is_in_the_bucket_of_the_sorted_value(
            mut values in prop::collection::vec(1_u64..2_000_000, 1..200),
            part in 0.01_f64..1.0,
        ) {
            let histogram = Histogram::<24>::new(1);
            values.iter().for_each(|value| histogram.observe(*value));
            values.sort_unstable();
            let rank = (part * values.len() as f64).ceil() as usize;
            let exact = values[rank.max(1) - 1];
            let upper = exact.next_power_of_two() as f64;
            let found = histogram.distribution().quantile(part).unwrap();
            prop_assert!(found <= upper && found >= if exact == 1 { 0.0 } else { upper / 2.0 }, "{found} {exact}");
        }

        #[test]
        fn a_distribution_is_what_came_since(
            before in prop::collection::vec(0_u64..100_000, 0..50),
            after in prop::collection::vec(0_u64..100_000, 0..50),
        ) {
            let (both, late) = (Histogram::<8>::new(10), Histogram::<8>::new(10));
            before.iter().for_each(|value| both.observe(*value));
            let then = both.distribution();
            after.iter().for_each(|value| {
                both.observe(*value);
                late.observe(*value);
            });
            prop_assert_eq!(both.distribution().since(&then), late.distribution());
            let mut sum = then;
            sum.add(&late.distribution());
            prop_assert_eq!(sum, both.distribution());
        }
    }

    #[test]
    fn nothing_has_no_quantile_and_what_is_beyond_counts_as_the_last_bound() {
        let histogram = Histogram::<3>::new(1000);
        let distribution = histogram.distribution();
        assert_eq!(
            (distribution.quantile(0.5), distribution.mean()),
            (None, None)
        );
        histogram.observe(1_000_000);
        assert_eq!(histogram.distribution().quantile(0.5), Some(4000.0));
        assert_eq!(histogram.distribution().mean(), Some(1_000_000.0));
    }

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
