//! Latencies in buckets whose width grows with the value, so that any quantile is off by at most 1.6 %.

use std::time::Duration;

/// Buckets per power of two, as a power of two.
const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
/// Powers of two above the exact range: reaches 2^42 ns, more than an hour.
const OCTAVES: usize = 36;

#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: vec![0; SUB * (OCTAVES + 1)],
            total: 0,
        }
    }
}

impl Histogram {
    pub fn record(&mut self, value: Duration) {
        let value_ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let last = self.counts.len() - 1;
        self.counts[bucket(value_ns).min(last)] += 1;
        self.total += 1;
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The smallest bucket's middle that at least `quantile` (0 to 1) of the values do not exceed.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let wanted = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(middle(index));
            }
        }
        Duration::ZERO
    }
}

fn bucket(value_ns: u64) -> usize {
    if value_ns < SUB as u64 {
        return value_ns as usize;
    }
    let octave = u64::BITS - 1 - value_ns.leading_zeros() - SUB_BITS;
    let sub = (value_ns >> octave) as usize - SUB;
    SUB * (octave as usize + 1) + sub
}

fn middle(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let octave = bucket / SUB - 1;
    let low = ((SUB + bucket % SUB) as u64) << octave;
    low + (1 << octave) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_stay_within_their_stated_error() {
        let mut histogram = Histogram::default();
        for value_ns in (1..=1_000_000u64).step_by(7) {
            histogram.record(Duration::from_nanos(value_ns));
        }
        for quantile in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let got = histogram.quantile(quantile).as_nanos() as f64;
            let error = (got / (1_000_000.0 * quantile) - 1.0).abs();
            assert!(
                error < 0.016,
                "quantile {quantile}: {got} ns is off by {error}"
            );
        }
    }

    #[test]
    fn a_value_lands_in_the_bucket_that_spans_it() {
        for value_ns in
            (0..64).chain((6..42).flat_map(|bit| [1 << bit, (1 << bit) + 1, (2 << bit) - 1]))
        {
            let distance = middle(bucket(value_ns)).abs_diff(value_ns);
            assert!(
                distance as f64 <= value_ns as f64 / SUB as f64,
                "{value_ns} off by {distance}"
            );
        }
    }

    #[test]
    fn merging_adds_and_nothing_recorded_is_zero() {
        let mut left = Histogram::default();
        assert_eq!(left.quantile(0.99), Duration::ZERO);
        let mut right = Histogram::default();
        right.record(Duration::from_nanos(5));
        right.record(Duration::MAX);
        left.merge(&right);
        assert_eq!(left.quantile(0.5), Duration::from_nanos(5));
        assert!(left.quantile(1.0) > Duration::from_secs(3600));
    }
}
