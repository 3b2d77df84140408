//! The points of the last minutes. Pure.

use std::collections::VecDeque;

use super::Point;

/// 15 minutes of a point every 2 s, some 250 KiB: what the plots of the status page show.
pub const CAPACITY: usize = 450;

#[derive(Debug, Default)]
pub struct Ring(VecDeque<Point>);

impl Ring {
    pub fn push(&mut self, point: Point) {
        if self.0.len() == CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }

    /// Returns the points later than `at_ms`, from old to new. A clock that was set back yields
    /// them all.
    pub fn since(&self, at_ms: u64) -> impl Iterator<Item = &Point> {
        let is_ahead = self.0.back().is_some_and(|last| last.at_ms < at_ms);
        let after = if is_ahead { 0 } else { at_ms };
        self.0.iter().filter(move |point| point.at_ms > after)
    }

    pub fn last(&self) -> Option<&Point> {
        self.0.back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_ms: u64) -> Point {
        let values = [None; Point::NAMES.len()];
        Point { at_ms, values }
    }

    #[test]
    fn the_oldest_goes_when_it_is_full() {
        let mut ring = Ring::default();
        (1..=CAPACITY as u64 + 3).for_each(|at_ms| ring.push(at(at_ms)));
        let kept: Vec<_> = ring.since(0).map(|point| point.at_ms).collect();
        assert_eq!((kept.len(), kept[0]), (CAPACITY, 4));
        assert_eq!(ring.last().unwrap().at_ms, CAPACITY as u64 + 3);
    }

    #[test]
    fn only_later_points_are_given_unless_the_clock_went_back() {
        let mut ring = Ring::default();
        for at_ms in [10, 20, 30] {
            ring.push(at(at_ms));
        }
        let since = |at_ms| {
            ring.since(at_ms)
                .map(|point| point.at_ms)
                .collect::<Vec<_>>()
        };
        assert_eq!(since(10), [20, 30]);
        assert_eq!(since(30), [] as [u64; 0]);
        assert_eq!(since(31), [10, 20, 30]);
    }
}
