//! The same workload on two servers in turns, and the medians side by side.

use std::fs::OpenOptions;
use std::io::Write;

use crate::args::Comparison;
use crate::crew::Schedule;
use crate::failure::Failure;
use crate::report;
use crate::workload::{Measurement, prepare};

/// Returns how many operations failed.
pub fn run(comparison: &Comparison, schedule: &Schedule) -> Result<u64, Failure> {
    let targets = [&comparison.base, &comparison.other];
    let mut sessions = Vec::new();
    for target in targets {
        sessions.push(prepare(target, &comparison.workload)?);
    }
    let mut measured: [Vec<Measurement>; 2] = Default::default();
    for round in 0..comparison.rounds {
        // Each goes first in turn, so that a trend of the machine favours neither.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let measurement = sessions[side].measure(schedule)?;
            record(comparison, &targets[side].name, &measurement)?;
            measured[side].push(measurement);
        }
    }
    if comparison.heading {
        println!("{}", heading(&comparison.base.name, &comparison.other.name));
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

fn heading(base: &str, other: &str) -> String {
    let columns = [
        "workload".to_owned(),
        "clients".to_owned(),
        format!("{base} ops/s"),
        format!("{other} ops/s"),
        "ratio".to_owned(),
        format!("p50 ms {base} / {other}"),
        "ratio".to_owned(),
        format!("p99 ms {base} / {other}"),
        "ratio".to_owned(),
        format!("{base} CPU us/op"),
        format!("{other} CPU us/op"),
        "ratio".to_owned(),
        "RSS MiB".to_owned(),
        "others cores".to_owned(),
    ];
    let rule = "---|".repeat(columns.len());
    format!("| {} |\n|{rule}", columns.join(" | "))
}

fn row(comparison: &Comparison, measured: &[Vec<Measurement>; 2]) -> String {
    let both = |figure: &dyn Fn(&Measurement) -> f64| {
        [0, 1].map(|side| Spread::of(measured[side].iter().map(figure)))
    };
    let rate = both(&Measurement::operations_per_s);
    let p50 = both(&|m| m.latency_ms(0.5));
    let p99 = both(&|m| m.latency_ms(0.99));
    let cpu = both(&|m| m.server_us_per_operation().unwrap_or(f64::NAN));
    let rss = both(&|m| m.server_rss_mib().unwrap_or(f64::NAN));
    let others = both(&|m| m.cost.others_cores);
    let errors: u64 = measured.iter().flatten().map(|m| m.failures.count).sum();
    let mut title = comparison.workload.title();
    if errors > 0 {
        title.push_str(&format!(" **({errors} errors)**"));
    }
    let columns = [
        title,
        comparison.workload.clients().to_string(),
        rate[0].text(0),
        rate[1].text(0),
        ratio(&rate),
        format!("{:.2} / {:.2}", p50[0].median, p50[1].median),
        ratio(&p50),
        format!("{:.2} / {:.2}", p99[0].median, p99[1].median),
        ratio(&p99),
        cpu[0].text(1),
        cpu[1].text(1),
        ratio(&cpu),
        format!("{:.0} / {:.0}", rss[0].max, rss[1].max),
        format!("{:.1}", others[0].max.max(others[1].max)),
    ];
    format!("| {} |", columns.join(" | "))
}

fn ratio([base, other]: &[Spread; 2]) -> String {
    format!("{:.2}", other.median / base.median)
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
