//! Checks the files of an engine that does not run, and says how long that takes:
//! `cargo run --release -p dqlite --example verify_log -- DIRECTORY`.

use std::{env, path::PathBuf, process::ExitCode, time::Instant};

use dqlite::log::verify_directory;

fn main() -> ExitCode {
    let Some(dir) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: verify_log DIRECTORY");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    match verify_directory(&dir) {
        Ok(report) => {
            let taken = start.elapsed();
            println!("{report:#?}");
            for remnant in &report.remnants {
                println!("{remnant}");
            }
            let mib = report.bytes_read as f64 / f64::from(1 << 20);
            let rate = mib / taken.as_secs_f64();
            println!("{mib:.1} MiB in {taken:?}, {rate:.0} MiB/s");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
