//! Calls that read from a known data set, and check that they got it.

use std::sync::Arc;

use etcd_proto::etcdserverpb::{RangeRequest, RangeResponse};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Operation;
use crate::dataset::Dataset;
use crate::failure::{Failure, wrong};
use crate::target::Kv;

/// One key at random.
pub struct Get {
    data: Arc<Dataset>,
    serializable: bool,
    rng: SmallRng,
}

impl Get {
    pub fn new(data: Arc<Dataset>, serializable: bool) -> Self {
        Get {
            data,
            serializable,
            rng: SmallRng::from_os_rng(),
        }
    }
}

impl Operation for Get {
    async fn call(&mut self, kv: &mut Kv) -> Result<(), Failure> {
        let key = &self.data.keys[self.rng.random_range(0..self.data.keys.len())];
        let request = RangeRequest {
            key: key.clone(),
            serializable: self.serializable,
            ..Default::default()
        };
        let answer = kv.range(request).await?.into_inner();
        match &answer.kvs[..] {
            [only] if only.key == *key && only.value.len() == self.data.value_bytes => Ok(()),
            _ => wrong(format!(
                "a get of an existing key found {} keys",
                answer.kvs.len()
            )),
        }
    }
}

/// One page of a list, at random: from the page's first key to the end of the prefix, limited.
pub struct Range {
    data: Arc<Dataset>,
    limit: usize,
    rng: SmallRng,
}

impl Range {
    pub fn new(data: Arc<Dataset>, limit: usize) -> Self {
        Range {
            data,
            limit,
            rng: SmallRng::from_os_rng(),
        }
    }

    fn check(&self, answer: &RangeResponse, first: usize) -> Result<(), Failure> {
        let expected = &self.data.keys[first..];
        let (total, page) = (expected.len(), &expected[..self.limit.min(expected.len())]);
        let keys_match = answer.kvs.len() == page.len()
            && answer.kvs.iter().zip(page).all(|(kv, key)| kv.key == *key)
            && answer
                .kvs
                .iter()
                .all(|kv| kv.value.len() == self.data.value_bytes);
        if !keys_match {
            return wrong(format!(
                "a page of {} keys came with {} or other ones",
                page.len(),
                answer.kvs.len()
            ));
        }
        if answer.count != total as i64 || answer.more != (total > page.len()) {
            return wrong(format!(
                "of {total} keys, a page of {} said count {} and more {}",
                page.len(),
                answer.count,
                answer.more
            ));
        }
        Ok(())
    }
}

impl Operation for Range {
    async fn call(&mut self, kv: &mut Kv) -> Result<(), Failure> {
        let pages = self.data.keys.len().div_ceil(self.limit);
        let first = self.rng.random_range(0..pages) * self.limit;
        let request = RangeRequest {
            key: self.data.keys[first].clone(),
            range_end: self.data.end.clone(),
            limit: self.limit as i64,
            ..Default::default()
        };
        let answer = kv.range(request).await?.into_inner();
        self.check(&answer, first)
    }
}

/// The number of keys under the prefix.
pub struct Count {
    data: Arc<Dataset>,
}

impl Count {
    pub fn new(data: Arc<Dataset>) -> Self {
        Count { data }
    }
}

impl Operation for Count {
    async fn call(&mut self, kv: &mut Kv) -> Result<(), Failure> {
        let request = RangeRequest {
            key: self.data.prefix.clone(),
            range_end: self.data.end.clone(),
            count_only: true,
            ..Default::default()
        };
        let answer = kv.range(request).await?.into_inner();
        if answer.count != self.data.keys.len() as i64 || !answer.kvs.is_empty() {
            return wrong(format!(
                "{} keys were counted as {}",
                self.data.keys.len(),
                answer.count
            ));
        }
        Ok(())
    }
}
