//! The same workload on several servers in turns, and the medians side by side.

use std::fs::OpenOptions;
use std::io::Write;

use crate::args::Comparison;
use crate::crew::Schedule;
use crate::failure::Failure;
use crate::report;
use crate::workload::{Measurement, prepare};

/// Returns how many operations failed.
pub fn run(comparison: &Comparison, schedule: &Schedule) -> Result<u64, Failure> {
    let mut targets = vec![&comparison.base];
    targets.extend(&comparison.others);
    let mut sessions = Vec::new();
    for target in &targets {
        sessions.push(prepare(target, &comparison.workload)?);
    }
    let mut measured: Vec<Vec<Measurement>> = targets.iter().map(|_| Vec::new()).collect();
    for round in 0..comparison.rounds as usize {
        // Each goes first in turn, so that a trend of the machine favours none.
        for step in 0..targets.len() {
            let side = (round + step) % targets.len();
            let measurement = sessions[side].measure(schedule)?;
            record(comparison, &targets[side].name, &measurement)?;
            measured[side].push(measurement);
        }
    }
    if comparison.heading {
        let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
        println!("{}", heading(&names));
    }
    println!("{}", row(comparison, &measured));
    Ok(measured
        .iter()
        .flatten()
        .map(|measurement| measurement.failures.count)
        .sum())
}

fn record(comparison: &Comparison, name: &str, measurement: &Measurement) -> Result<(), Failure> {
    report::complain(name, &comparison.workload, measurement);
    let Some(log) = &comparison.log else {
        return Ok(());
    };
    let line = report::json(name, &comparison.workload, measurement);
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)
        .and_then(|mut file| writeln!(file, "{line}"))
        .map_err(|error| Failure::Machine(format!("{}: {error}", log.display())))
}

fn heading(names: &[&str]) -> String {
    let all = names.join(" / ");
    let mut columns = vec!["workload".to_owned(), "clients".to_owned()];
    columns.extend(names.iter().map(|name| format!("{name} ops/s")));
    columns.extend(["ratio".to_owned(), format!("p50 ms {all}")]);
    columns.extend(["ratio".to_owned(), format!("p99 ms {all}")]);
    columns.push("ratio".to_owned());
    columns.extend(names.iter().map(|name| format!("{name} CPU us/op")));
    columns.extend(["ratio", "RSS MiB", "disk KiB/op", "others cores"].map(str::to_owned));
    let rule = "---|".repeat(columns.len());
    format!("| {} |\n|{rule}", columns.join(" | "))
}

fn row(comparison: &Comparison, measured: &[Vec<Measurement>]) -> String {
    let all = |figure: &dyn Fn(&Measurement) -> f64| -> Vec<Spread> {
        let sides = measured.iter();
        sides
            .map(|side| Spread::of(side.iter().map(figure)))
            .collect()
    };
    let rate = all(&Measurement::operations_per_s);
    let p50 = all(&|m| m.latency_ms(0.5));
    let p99 = all(&|m| m.latency_ms(0.99));
    let cpu = all(&|m| m.server_us_per_operation().unwrap_or(f64::NAN));
    let rss = all(&|m| m.server_rss_mib().unwrap_or(f64::NAN));
    let written = all(&|m| m.written_kib_per_operation().unwrap_or(f64::NAN));
    let others = all(&|m| m.cost.others_cores);
    let errors: u64 = measured.iter().flatten().map(|m| m.failures.count).sum();
    let mut title = comparison.workload.title();
    if errors > 0 {
        title.push_str(&format!(" **({errors} errors)**"));
    }
    let mut columns = vec![title, comparison.workload.clients().to_string()];
    columns.extend(rate.iter().map(|spread| spread.text(0)));
    columns.push(ratios(&rate));
    for latency in [&p50, &p99] {
        columns.push(joined(latency, |spread| format!("{:.2}", spread.median)));
        columns.push(ratios(latency));
    }
    columns.extend(cpu.iter().map(|spread| spread.text(1)));
    columns.push(ratios(&cpu));
    columns.push(joined(&rss, |spread| format!("{:.0}", spread.max)));
    columns.push(joined(&written, |spread| format!("{:.1}", spread.median)));
    let most = others.iter().map(|spread| spread.max).fold(0.0, f64::max);
    columns.push(format!("{most:.1}"));
    format!("| {} |", columns.join(" | "))
}

/// Returns the ratio of each other server to the base.
fn ratios(spreads: &[Spread]) -> String {
    let base = spreads[0].median;
    joined(&spreads[1..], |other| format!("{:.2}", other.median / base))
}

fn joined(spreads: &[Spread], text: impl Fn(&Spread) -> String) -> String {
    spreads.iter().map(text).collect::<Vec<_>>().join(" / ")
}

/// The middle and the extremes of several runs.
#[derive(Debug, PartialEq)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Spread {
            min: sorted[0],
            median: (low + high) / 2.0,
            max: sorted[sorted.len() - 1],
        }
    }

    fn text(&self, decimals: usize) -> String {
        let Spread { min, median, max } = self;
        format!("{median:.decimals$} [{min:.decimals$}-{max:.decimals$}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_other_server_has_a_column_and_a_ratio() {
        let spreads = [10.0, 20.0, 5.0].map(|value| Spread::of([value].into_iter()));
        assert_eq!(ratios(&spreads[..2]), "2.00");
        assert_eq!(ratios(&spreads), "2.00 / 0.50");
        let heading = heading(&["a", "b", "c"]);
        let (names, rule) = heading.split_once('\n').unwrap();
        assert_eq!(names.matches('|').count(), rule.matches('|').count());
        assert!(names.contains("| c ops/s | ratio | p50 ms a / b / c | ratio |"));
    }

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_the_two() {
        let odd = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(
            odd,
            Spread {
                min: 1.0,
                median: 2.0,
                max: 3.0
            }
        );
        assert_eq!(Spread::of([4.0, 1.0].into_iter()).median, 2.5);
        assert_eq!(odd.text(1), "2.0 [1.0-3.0]");
    }
}
