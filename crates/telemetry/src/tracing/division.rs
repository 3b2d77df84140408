//! The division of a call's time into steps. Pure.

use std::time::{Duration, Instant};

use super::timeline::{Step, TimedStep};

/// The time that a call has spent on a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTime {
    pub step: Step,
    pub took: Duration,
}

/// Divides the time from `from` to `to` among the steps that are known. Where two overlap it belongs to the one that began
/// first; where there is none it belongs to [`Step::Elsewhere`], which is last. So all of them sum to the whole.
pub fn divide(from: Instant, to: Instant, mut known: Vec<TimedStep>) -> Vec<StepTime> {
    known.sort_by_key(|timed| timed.from);
    let mut elsewhere = Duration::ZERO;
    let mut done = from;
    let mut times = Vec::with_capacity(known.len() + 1);
    for timed in known {
        let begun = timed.from.min(to).max(done);
        let ended = timed.to.min(to).max(begun);
        elsewhere += begun - done;
        let (step, took) = (timed.step, ended - begun);
        times.push(StepTime { step, took });
        done = ended;
    }
    elsewhere += to.saturating_duration_since(done);
    let (step, took) = (Step::Elsewhere, elsewhere);
    times.push(StepTime { step, took });
    times
}

/// Returns the step on which a call spent the most time since its request was received: [`Step::Elsewhere`] if the others
/// explain less than half of that.
pub fn reason(times: &[StepTime]) -> Step {
    let counted = times.iter().filter(|time| time.step != Step::Receive);
    let whole: Duration = counted.clone().map(|time| time.took).sum();
    let known = counted.filter(|time| time.step != Step::Elsewhere);
    let explained: Duration = known.clone().map(|time| time.took).sum();
    match known.max_by_key(|time| time.took) {
        Some(longest) if 2 * explained >= whole => longest.step,
        _ => Step::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEPS: [Step; 7] = [
        Step::Receive,
        Step::Queue,
        Step::Evaluate,
        Step::Batch,
        Step::Commit,
        Step::Leader,
        Step::Answer,
    ];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Steps from and to a number of milliseconds after `start`.
    fn timed(start: Instant, steps: &[(Step, u64, u64)]) -> Vec<TimedStep> {
        let timed = steps.iter().map(|&(step, from, to)| TimedStep {
            step,
            from: start + ms(from),
            to: start + ms(to),
        });
        timed.collect()
    }

    proptest! {
        #[test]
        fn steps_sum_to_the_whole(
            steps in prop::collection::vec((0..STEPS.len(), 0..100_u64, 0..100_u64), 0..9),
            from in 0..100_u64,
            whole in 0..100_u64,
        ) {
            let start = Instant::now();
            let steps: Vec<_> = steps.iter().map(|&(step, a, b)| (STEPS[step], a, b)).collect();
            let from = start + ms(from);
            let times = divide(from, from + ms(whole), timed(start, &steps));
            prop_assert_eq!(times.iter().map(|time| time.took).sum::<Duration>(), ms(whole));
            prop_assert_eq!(times.len(), steps.len() + 1);
            prop_assert_eq!(times.last().map(|time| time.step), Some(Step::Elsewhere));
        }
    }

    fn reason_of(steps: &[(Step, u64, u64)], whole: u64) -> &'static str {
        let start = Instant::now();
        reason(&divide(start, start + ms(whole), timed(start, steps))).name()
    }

    #[test]
    fn the_reason_is_the_longest_step_if_the_steps_explain_half() {
        let write = [
            (Step::Queue, 10, 20),
            (Step::Evaluate, 20, 25),
            (Step::Commit, 25, 60),
        ];
        assert_eq!(reason_of(&write, 60), "commit");
        assert_eq!(reason_of(&write, 100), "commit");
        assert_eq!(reason_of(&write, 101), "elsewhere");
        assert_eq!(reason_of(&[], 10), "elsewhere");
        // Whoever sends slowly is not the server's time.
        let slow_sender = [(Step::Receive, 0, 1000), (Step::Queue, 1000, 1002)];
        assert_eq!(reason_of(&slow_sender, 1003), "queue");
    }
}
