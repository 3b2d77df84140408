//! Runs the workload that the command line asks for, and measures it.

use std::sync::Arc;
use std::thread;

use crate::args::{Shape, Workload};
use crate::crew::{self, Schedule, Tally};
use crate::dataset::Dataset;
use crate::failure::{Failure, Failures};
use crate::histogram::Histogram;
use crate::keys::Values;
use crate::meter::Cost;
use crate::operation::{Clients, Count, CreateTxn, Get, Operation, Put, Range, Update};
use crate::target::Target;
use crate::watch::Fanout;

/// More client threads than this take more from the server than they add.
const MAX_THREADS: usize = 2;

pub struct Measurement {
    pub operations: u64,
    pub writes: Option<u64>,
    pub latency: Histogram,
    pub failures: Failures,
    pub cost: Cost,
}

/// A workload with its data in place, to be measured any number of times.
pub struct Session<'a> {
    target: &'a Target,
    workload: &'a Workload,
    data: Option<Arc<Dataset>>,
}

pub fn prepare<'a>(target: &'a Target, workload: &'a Workload) -> Result<Session<'a>, Failure> {
    let data = match workload.data() {
        Some((keys, value_bytes)) => Some(Dataset::fill(target, keys, value_bytes)?),
        None => None,
    };
    Ok(Session {
        target,
        workload,
        data,
    })
}

impl Session<'_> {
    pub fn measure(&mut self, schedule: &Schedule) -> Result<Measurement, Failure> {
        let (tally, cost) = match *self.workload {
            Workload::CreateTxn {
                ref shape,
                value_bytes,
                pods,
            } => {
                let values = if pods {
                    Values::pods()
                } else {
                    Values::new(value_bytes)
                };
                self.drive(shape, schedule, |_| CreateTxn::new(values.clone()))
            }
            Workload::Put {
                ref shape,
                value_bytes,
            } => {
                let values = Values::new(value_bytes);
                self.drive(shape, schedule, |_| Put::new(values.clone()))
            }
            Workload::Update {
                ref shape,
                value_bytes,
                ..
            } => {
                let values = Values::new(value_bytes);
                let clients = shape.clients;
                let make = |client| Update::new(self.data(), values.clone(), client, clients);
                self.drive(shape, schedule, make)
            }
            Workload::Get {
                ref shape,
                serializable,
                ..
            } => self.drive(shape, schedule, |_| Get::new(self.data(), serializable)),
            Workload::Range {
                ref shape, limit, ..
            } => self.drive(shape, schedule, |_| Range::new(self.data(), limit)),
            Workload::Count { ref shape, .. } => {
                self.drive(shape, schedule, |_| Count::new(self.data()))
            }
            Workload::Watch(ref shape) => {
                let threads = threads(shape.conns);
                Fanout::new(self.target, shape, threads).run(schedule)
            }
        }?;
        let Tally {
            latency,
            operations,
            writes,
            failures,
        } = tally;
        Ok(Measurement {
            operations,
            writes,
            latency,
            failures,
            cost,
        })
    }

    fn drive<O: Operation>(
        &self,
        shape: &Shape,
        schedule: &Schedule,
        make: impl Fn(usize) -> O + Sync,
    ) -> Result<(Tally, Cost), Failure> {
        let conns = shape.conns();
        let threads = threads(conns);
        let clients = Clients {
            target: self.target,
            clients: shape.clients,
            conns,
            threads,
            make,
        };
        crew::run(&clients, threads, schedule, &self.target.server_pids)
    }

    fn data(&self) -> Arc<Dataset> {
        Arc::clone(
            self.data
                .as_ref()
                .expect("a workload that reads has a data set"),
        )
    }
}

fn threads(conns: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    conns.min(cores).min(MAX_THREADS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};
    use crate::fake::{self, Honesty};

    const SCHEDULE: Schedule = Schedule {
        warm_up: Duration::from_millis(1),
        length: Duration::from_secs(30),
        operations: Some(200),
    };
    const CHECKED: [&str; 6] = [
        "create-txn --clients 3",
        "create-txn --pods --clients 3",
        "update --clients 3 --keys 20",
        "get --clients 3 --keys 20",
        "range --clients 3 --keys 20 --limit 6",
        "count --clients 3 --keys 20",
    ];

    fn measure(target: &Target, line: &str) -> Result<Measurement, Failure> {
        let Command::Single(workload) = Args::parse_from(format!("load {line}").split(' ')).command
        else {
            panic!("'{line}' is no workload");
        };
        prepare(target, &workload)?.measure(&SCHEDULE)
    }

    #[test]
    fn right_answers_are_all_counted() {
        let target = fake::serve(Honesty::Honest);
        for line in CHECKED.into_iter().chain(["put --clients 3 --conns 2"]) {
            let measurement = measure(&target, line).unwrap();
            assert_eq!(
                (measurement.operations, measurement.failures.count),
                (200, 0),
                "{line}"
            );
            assert!(measurement.latency.quantile(0.5) > Duration::ZERO, "{line}");
        }
    }

    #[test]
    fn wrong_answers_are_failures_and_never_operations() {
        let target = fake::serve(Honesty::Lying);
        for line in CHECKED {
            let measurement = measure(&target, line).unwrap();
            let found = measurement.operations + measurement.failures.count;
            assert_eq!(found, 200, "{line}: {:?}", measurement.failures);
            assert_eq!(
                measurement.operations, 0,
                "{line}: {:?}",
                measurement.failures
            );
        }
    }

    #[test]
    fn missing_services_are_failures() {
        let target = fake::serve(Honesty::Honest);
        let failure = measure(&target, "watch")
            .err()
            .expect("the fake has no watches");
        assert!(failure.to_string().contains("Unimplemented"), "{failure}");
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let target = Target {
            name: "none".into(),
            endpoint: endpoint.clone(),
            server_pids: Vec::new(),
        };
        let failure = measure(&target, "put").err().expect("nothing listens");
        assert!(failure.to_string().contains(&endpoint), "{failure}");
    }
}
