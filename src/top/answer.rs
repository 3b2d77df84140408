//! The answer to a question: the groups of the sizes, and what clients do in each. Pure.

use std::collections::{BTreeMap, HashSet};

use operator_proto::{Client, Group, TopResponse, Use as UseMessage};

use super::{
    counting::{Counts, REST, Use},
    groups::{group_of, shown},
    sizes::{MAX_GROUPS, Query, Size, Sizes},
};

/// Clients in groups that are told of, those with the most requests; the others are in one use without a group.
const MAX_USES: usize = 4096;

/// The group of a use: none stands for all that are not named.
type GroupName = Option<Vec<u8>>;

pub fn write(query: &Query, sizes: &Sizes, counts: &Counts) -> TopResponse {
    let uses = uses(query, sizes, counts);
    // A group that is used without any key is one, too.
    let mut groups = sizes.groups.clone();
    for (name, _) in uses.keys() {
        if let Some(name) = name {
            groups.entry(name.clone()).or_default();
        }
    }
    let named = groups.iter().map(|(name, size)| group(Some(name), size));
    let rest = sizes.rest.iter().map(|size| group(None, size));
    TopResponse {
        revision: sizes.revision.number(),
        compact_revision: sizes.compact_revision.number().max(0),
        changes_left_out: sizes.changes_left_out,
        groups: named.chain(rest).collect(),
        counting: counts.number,
        counted_ms: counts.counted_ms,
        clients: clients(counts),
        uses: messages(uses),
        sizes_age_ms: sizes.at.elapsed().as_millis() as u64,
        watchers_left_out: counts.watchers_left_out,
    }
}

fn group(name: Option<&Vec<u8>>, size: &Size) -> Group {
    Group {
        prefix: name.map(|name| shown(name)).unwrap_or_default(),
        keys: size.keys,
        bytes: size.bytes,
        changes: size.changes,
        change_bytes: size.change_bytes,
        is_rest: name.is_none(),
    }
}

fn clients(counts: &Counts) -> Vec<Client> {
    let clients = counts.clients.iter().enumerate();
    let clients = clients.map(|(place, client)| Client {
        address: client.address.clone(),
        user: client.user.clone(),
        agent: client.agent.clone(),
        is_rest: place == REST,
    });
    clients.collect()
}

/// Returns what each client does in each group of the question. Of a group that is shorter than the prefix nobody knows
/// what was below the prefix, nor of the groups that are not told apart.
fn uses(query: &Query, sizes: &Sizes, counts: &Counts) -> BTreeMap<(GroupName, usize), Use> {
    let mut uses: BTreeMap<(GroupName, usize), Use> = BTreeMap::new();
    let mut unsized_groups = HashSet::new();
    let groups = counts.groups.iter();
    for (name, by_client) in groups.filter(|(name, _)| name.starts_with(&query.prefix)) {
        let name = group_of(name, query.depth);
        let is_known = sizes.groups.contains_key(name)
            || unsized_groups.contains(name)
            || (unsized_groups.len() < MAX_GROUPS && unsized_groups.insert(name.to_vec()));
        for (client, counted) in by_client {
            let name = is_known.then(|| name.to_vec());
            uses.entry((name, *client)).or_default().add(counted);
        }
    }
    let rest = counts.rest.iter().filter(|_| query.prefix.is_empty());
    for (client, counted) in rest {
        uses.entry((None, *client)).or_default().add(counted);
    }
    uses
}

fn messages(mut uses: BTreeMap<(GroupName, usize), Use>) -> Vec<UseMessage> {
    let mut rest = uses.remove(&(None, REST)).unwrap_or_default();
    let mut sorted: Vec<_> = uses.into_iter().collect();
    sorted.sort_by_key(|(_, it)| std::cmp::Reverse(it.reads + it.writes + it.watchers));
    for (_, counted) in sorted.drain(MAX_USES.min(sorted.len())..) {
        rest.add(&counted);
    }
    if rest != Use::default() {
        sorted.push(((None, REST), rest));
    }
    let messages = sorted.into_iter().map(|((name, client), it)| UseMessage {
        is_rest: name.is_none(),
        prefix: name.map(|name| shown(&name)).unwrap_or_default(),
        client: client as u32,
        reads: it.reads,
        writes: it.writes,
        written_bytes: it.written_bytes,
        watchers: it.watchers,
        slow_watchers: it.slow_watchers,
    });
    messages.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;
    use etcd_state::mvcc::Revision;

    use super::*;

    #[test]
    fn with_a_prefix_only_requests_below_it_are_told() {
        let used = |reads| {
            let used = Use {
                reads,
                ..Use::default()
            };
            vec![(REST, used)]
        };
        let groups = [
            ("", 1),
            ("/registry/", 2),
            ("/registry/pods/", 4),
            ("/registry/pods/default/", 8),
            ("/registry/pods/kube-system/", 16),
            ("/registry/leases/", 32),
        ];
        let groups = groups.map(|(name, reads)| (name.as_bytes().to_vec(), used(reads)));
        let mut counts = Counts::default();
        counts.groups = groups.into();
        counts.rest = used(64);
        let sizes = Sizes {
            revision: Revision::new(1),
            compact_revision: Revision::new(0),
            changes_left_out: 0,
            groups: BTreeMap::new(),
            rest: None,
            at: Instant::now(),
        };
        for (prefix, expected) in [
            ("", 127),
            ("/registry/", 62),
            ("/registry/po", 28),
            ("/registry/pods/", 28),
            ("/registry/pods/default/", 8),
            ("/registry/pods/default/web", 0),
        ] {
            let query = Query::new(Bytes::from_static(prefix.as_bytes()), 0);
            let answer = write(&query, &sizes, &counts);
            let reads: u64 = answer.uses.iter().map(|it| it.reads).sum();
            assert_eq!(reads, expected, "{prefix}");
        }
    }
}
