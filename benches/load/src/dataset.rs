//! The keys that reads and updates work on, written once before anything is measured.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use etcd_proto::etcdserverpb::PutRequest;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::runtime;
use tokio::task::JoinSet;

use crate::failure::{Failure, wrong};
use crate::keys::{KeyMaker, Values, prefix_end};
use crate::target::{Kv, Target, kv};

/// Writers that fill a data set: enough for the server to commit in groups.
const FILLERS: usize = 64;

pub struct Dataset {
    pub prefix: Bytes,
    pub end: Bytes,
    /// The keys in ascending order.
    pub keys: Vec<Bytes>,
    /// Last known mod_revision of each key, for updates.
    pub revisions: Vec<AtomicI64>,
    pub value_bytes: usize,
}

impl Dataset {
    /// Writes `keys` new keys under a prefix of their own.
    pub fn fill(target: &Target, keys: usize, value_bytes: usize) -> Result<Arc<Self>, Failure> {
        let data = Arc::new(Self::plan(keys, value_bytes));
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Machine(format!("cannot start a runtime: {error}")))?;
        runtime.block_on(write(target, &data))?;
        Ok(data)
    }

    fn plan(keys: usize, value_bytes: usize) -> Self {
        let mut maker = KeyMaker::new();
        let prefix = maker.prefix();
        let mut unique = BTreeSet::new();
        while unique.len() < keys {
            unique.insert(maker.under(&prefix));
        }
        Dataset {
            end: prefix_end(&prefix),
            prefix: prefix.into(),
            revisions: unique.iter().map(|_| AtomicI64::new(0)).collect(),
            keys: unique.into_iter().collect(),
            value_bytes,
        }
    }
}

async fn write(target: &Target, data: &Arc<Dataset>) -> Result<(), Failure> {
    let channel = target.connect().await?;
    let values = Values::new(data.value_bytes);
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        fillers.spawn(fill_share(
            kv(channel.clone()),
            Arc::clone(data),
            values.clone(),
            filler,
        ));
    }
    while let Some(done) = fillers.join_next().await {
        done.expect("a filling task panicked")?;
    }
    Ok(())
}

async fn fill_share(
    mut kv: Kv,
    data: Arc<Dataset>,
    values: Values,
    filler: usize,
) -> Result<(), Failure> {
    let mut rng = SmallRng::from_os_rng();
    for index in (filler..data.keys.len()).step_by(FILLERS) {
        let (key, value) = (data.keys[index].clone(), values.pick(&mut rng));
        let answer = kv
            .put(PutRequest {
                key,
                value,
                ..Default::default()
            })
            .await?
            .into_inner();
        let revision = answer.header.map_or(0, |header| header.revision);
        if revision <= 0 {
            return wrong("a put was answered without a revision");
        }
        data.revisions[index].store(revision, Ordering::Relaxed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_unique_keys_in_order_inside_its_range() {
        let data = Dataset::plan(1000, 8);
        assert_eq!(data.keys.len(), 1000);
        assert!(data.keys.is_sorted_by(|a, b| a < b));
        assert!(data.prefix < data.keys[0] && data.keys[999] < data.end);
    }
}
