//! Keys and values that look like Kubernetes': `/registry/<kind>/<namespace>/<object>`.

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write;
use std::sync::Arc;

use crate::pods::pod;

const KINDS: [&str; 8] = [
    "pods",
    "leases",
    "events",
    "configmaps",
    "secrets",
    "endpointslices",
    "jobs",
    "replicasets",
];
const NAMESPACES: u32 = 64;
/// Different values that one run writes: enough that a page never holds one value twice in a row.
const VALUES: usize = 64;
/// Different pods that one run writes.
const PODS: usize = 1000;

/// Makes keys that no other call, run or process makes.
pub struct KeyMaker {
    rng: SmallRng,
    text: String,
}

impl KeyMaker {
    pub fn new() -> Self {
        KeyMaker {
            rng: SmallRng::from_os_rng(),
            text: String::new(),
        }
    }

    pub fn anywhere(&mut self) -> Bytes {
        let kind = KINDS[self.rng.random_range(0..KINDS.len())];
        self.key(format_args!("/registry/{kind}/"))
    }

    pub fn under(&mut self, prefix: &str) -> Bytes {
        self.key(format_args!("{prefix}"))
    }

    /// A prefix for one data set, apart from all other keys.
    pub fn prefix(&mut self) -> String {
        format!("/registry/load-{:016x}/", self.rng.random::<u64>())
    }

    fn key(&mut self, prefix: std::fmt::Arguments<'_>) -> Bytes {
        self.text.clear();
        let namespace = self.rng.random_range(0..NAMESPACES);
        let object: u64 = self.rng.random();
        write!(self.text, "{prefix}ns-{namespace:03}/object-{object:016x}")
            .expect("a String takes any text");
        Bytes::copy_from_slice(self.text.as_bytes())
    }
}

/// The end of the range of all keys that start with `prefix`, which must not end in 0xff.
pub fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix is not empty") += 1;
    end.into()
}

/// A fixed set of values to write, about half text that compresses and half that does not.
#[derive(Clone)]
pub struct Values(Arc<[Bytes]>);

impl Values {
    pub fn new(value_bytes: usize) -> Self {
        let mut rng = SmallRng::from_os_rng();
        Values((0..VALUES).map(|_| value(&mut rng, value_bytes)).collect())
    }

    /// Makes pods: so many that few are written twice within what a codec looks back on.
    pub fn pods() -> Self {
        let mut rng = SmallRng::from_os_rng();
        Values((0..PODS).map(|_| pod(&mut rng)).collect())
    }

    pub fn pick(&self, rng: &mut SmallRng) -> Bytes {
        self.0[rng.random_range(0..self.0.len())].clone()
    }
}

fn value(rng: &mut SmallRng, value_bytes: usize) -> Bytes {
    let mut text = String::with_capacity(value_bytes + 64);
    while text.len() < value_bytes {
        write!(
            text,
            "\"metadata.labels\":\"{:016x}\",",
            rng.random::<u64>()
        )
        .expect("a String takes any text");
    }
    text.truncate(value_bytes);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_and_its_end_enclose_its_keys_only() {
        let mut maker = KeyMaker::new();
        let (prefix, other) = (maker.prefix(), maker.prefix());
        let (start, end) = (Bytes::from(prefix.clone()), prefix_end(&prefix));
        assert!((&start..&end).contains(&&maker.under(&prefix)));
        assert!(!(&start..&end).contains(&&maker.under(&other)));
        assert!(!(&start..&end).contains(&&maker.anywhere()));
    }

    #[test]
    fn values_have_the_length_asked_for() {
        for value_bytes in [1, 512, 2048] {
            let values = Values::new(value_bytes);
            assert!(values.0.iter().all(|value| value.len() == value_bytes));
        }
    }
}
