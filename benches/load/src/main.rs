//! Load generator for any etcd v3 endpoint: one workload at a time, or two servers in turns.
//!
//! `args` says what to do, `workload` and `operation/` what one call is, `crew` runs calls from many
//! clients inside a measured window, `report` and `compare` print what came out.
#![forbid(unsafe_code)]

mod args;
mod compare;
mod crew;
mod dataset;
mod disk;
mod expiry;
mod failure;
#[cfg(test)]
mod fake;
mod histogram;
mod idle;
mod keys;
mod meter;
mod operation;
mod pods;
mod report;
mod target;
mod upkeep;
mod watch;
mod workload;

use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;
use failure::Failure;

/// Exit code when the numbers were taken but some answers were wrong or missing.
const ANSWERS_FAILED: u8 = 3;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(ANSWERS_FAILED),
        Err(failure) => {
            eprintln!("k8s-dqlite-load: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many operations failed.
fn run(args: &Args) -> Result<u64, Failure> {
    match &args.command {
        Command::Single(spec) => {
            let target = args.target();
            let mut session = workload::prepare(&target, spec)?;
            let measurement = session.measure(&args.schedule())?;
            if args.json {
                println!("{}", report::json(&args.label, spec, &measurement));
            } else {
                println!("{}\n{}", report::HEADING, report::row(spec, &measurement));
            }
            report::complain(&args.label, spec, &measurement);
            Ok(measurement.failures.count)
        }
        Command::Compare(comparison) => compare::run(comparison, &args.schedule()),
        Command::Expiry(shape) => {
            if shape.heading {
                println!("{}", expiry::HEADING);
            }
            println!("{}", expiry::run(&args.target(), shape)?);
            Ok(0)
        }
        Command::Upkeep(shape) => {
            if shape.heading {
                println!("{}", upkeep::HEADING);
            }
            println!("{}", upkeep::run(&args.target(), shape, &args.schedule())?);
            Ok(0)
        }
        Command::Idle(shape) => {
            if shape.heading {
                println!("{}", idle::HEADING);
            }
            println!("{}", idle::run(&args.target(), shape, &args.schedule())?);
            Ok(0)
        }
        Command::Disk { dir } => {
            println!("{}", disk::probe(dir)?);
            Ok(0)
        }
    }
}
