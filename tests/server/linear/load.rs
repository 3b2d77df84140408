//! Clients: each makes one random call after the other on its node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use super::call::call;
use super::history::{Answer, Call, Expected, Read};
use super::register;
use super::run::Run;

const CLIENTS_PER_NODE: usize = 4;

/// The number of keys: few, so that clients meet.
const KEYS: usize = 8;

/// The number of calls on a register: few enough for the search to judge it.
const CALLS_PER_REGISTER: u64 = 60;

/// The revisions by which a compaction stays behind the present: nodes that are away meanwhile may miss events.
const COMPACTION_MARGIN: i64 = 300;

/// The revisions by which reads of the past go back; some meet the compaction.
const PAST: i64 = 400;

pub fn start(run: &Arc<Run>, seed: u64) -> Vec<JoinHandle<()>> {
    let clients = run.urls.len() * CLIENTS_PER_NODE;
    let client = |index: usize| {
        let random = StdRng::seed_from_u64(seed.wrapping_add(index as u64));
        tokio::spawn(act(run.clone(), index / CLIENTS_PER_NODE, random))
    };
    (0..clients).map(client).collect()
}

async fn act(run: Arc<Run>, node: usize, mut random: StdRng) {
    let api = run.api(node);
    let mut memory = Memory::default();
    while !run.is_stopped() {
        let chosen = memory.choose(&run, &mut random);
        if let Some(answer) = call(&run, &api, node, chosen.clone()).await {
            memory.learn(&chosen, &answer);
        }
    }
}

/// The values that a client has seen last, so that some of its comparisons hold.
#[derive(Default)]
struct Memory {
    revision: i64,
    register: Option<(Bytes, Bytes)>,
}

fn key(random: &mut StdRng) -> Bytes {
    format!("/key/{}", random.random_range(0..KEYS)).into()
}

impl Memory {
    fn learn(&mut self, call: &Call, answer: &Answer) {
        match call {
            Call::Read(read) if read.key.starts_with(register::PREFIX.as_bytes()) => {
                let found = answer.kvs.first();
                self.register = found.map(|kv| (read.key.clone(), kv.value.clone()));
            }
            Call::Read(_) | Call::Swap { .. } => {
                let newest = answer.kvs.iter().map(|kv| kv.mod_revision).max();
                self.revision = newest.unwrap_or(0);
            }
            _ => (),
        }
    }

    fn choose(&self, run: &Run, random: &mut StdRng) -> Call {
        match random.random_range(0..100) {
            0..25 => Call::Put {
                key: key(random),
                value: run.unique_value().into(),
                lease: 0,
            },
            25..35 => Call::Swap {
                key: key(random),
                expected: Expected::ModRevision(self.revision),
                value: run.unique_value().into(),
            },
            35..42 => Call::Several {
                written: [key(random), "/key/both".into()],
                deleted: "/key/gone".into(),
                value: run.unique_value().into(),
            },
            42..47 => Call::Put {
                key: "/key/gone".into(),
                value: run.unique_value().into(),
                lease: 0,
            },
            47..52 => Call::Delete {
                key: key(random),
                range_end: Bytes::new(),
            },
            52..54 => Call::Delete {
                key: "/key/4".into(),
                range_end: "/key/6".into(),
            },
            54..80 => self.register(run, random),
            80..99 => Call::Read(read(run, random)),
            _ => Call::Compact((run.watched() - COMPACTION_MARGIN).max(1)),
        }
    }

    fn register(&self, run: &Run, random: &mut StdRng) -> Call {
        let calls = run.register_calls.fetch_add(1, Ordering::Relaxed);
        let key: Bytes = format!("{}{}", register::PREFIX, calls / CALLS_PER_REGISTER).into();
        let known = self.register.as_ref().filter(|(of, _)| *of == key);
        match (known, random.random_range(0..4)) {
            (Some((_, expected)), 0..2) => Call::Swap {
                key,
                expected: Expected::Value(expected.clone()),
                value: run.unique_value().into(),
            },
            (_, 2) => Call::Put {
                key,
                value: run.unique_value().into(),
                lease: 0,
            },
            _ => Call::Read(Read {
                key,
                ..Default::default()
            }),
        }
    }
}

fn read(run: &Run, random: &mut StdRng) -> Read {
    let revision = match random.random_range(0..4) {
        0 => (run.watched() - random.random_range(0..PAST)).max(1),
        _ => 0,
    };
    let all: (Bytes, Bytes) = ("/key/".into(), "/key0".into());
    let (key, range_end) = match random.random_range(0..3) {
        0 => all,
        _ => (key(random), Bytes::new()),
    };
    Read {
        key,
        range_end,
        revision,
        limit: random.random_range(0..3),
        serializable: random.random_bool(0.2),
    }
}
