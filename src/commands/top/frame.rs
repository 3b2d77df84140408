//! The difference of two answers of a server: what happened in between. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use operator_proto::{Client, Group, TopResponse, Use};
use serde_json::{Value, json};

use crate::args::TopSort;

/// The name of all that is not named.
const REST: &str = "(others)";

/// The name of the group of keys without a slash.
const NO_PREFIX: &str = "(no prefix)";

#[derive(Debug)]
pub struct Frame {
    pub revision: i64,
    pub compact_revision: i64,
    pub changes_left_out: u64,
    pub watchers_left_out: u64,
    /// The time for which requests were counted.
    pub counted_s: f64,
    pub groups: Vec<Row>,
    pub clients: Vec<Row>,
}

/// One group, or one client.
#[derive(Debug, Default, Clone)]
pub struct Row {
    pub name: String,
    pub user: String,
    pub agent: String,
    /// Of a group.
    pub size: Group,
    pub reads_per_s: f64,
    pub writes_per_s: f64,
    pub written_bytes_per_s: f64,
    pub watchers: u64,
    pub slow_watchers: u64,
    /// The client of a group, or the group of a client, with the most requests.
    pub mostly: String,
    mostly_per_s: f64,
}

impl Row {
    /// Adds what one client does in one group; `other` is the name of the other of the two.
    fn add(&mut self, rates: &Rates, other: &str) {
        self.reads_per_s += rates.reads_per_s;
        self.writes_per_s += rates.writes_per_s;
        self.written_bytes_per_s += rates.written_bytes_per_s;
        self.watchers += rates.watchers;
        self.slow_watchers += rates.slow_watchers;
        let per_s = rates.reads_per_s + rates.writes_per_s;
        if per_s > self.mostly_per_s {
            self.mostly_per_s = per_s;
            other.clone_into(&mut self.mostly);
        }
    }

    fn sorted_by(&self, sort: TopSort) -> f64 {
        match sort {
            TopSort::Size | TopSort::Prefix => self.size.bytes as f64,
            TopSort::Keys => self.size.keys as f64,
            TopSort::Changes => self.size.changes as f64,
            TopSort::Reads => self.reads_per_s,
            TopSort::Writes => self.writes_per_s,
            TopSort::Watchers => self.watchers as f64,
        }
    }

    fn requests_per_s(&self) -> f64 {
        self.reads_per_s + self.writes_per_s
    }
}

struct Rates {
    reads_per_s: f64,
    writes_per_s: f64,
    written_bytes_per_s: f64,
    watchers: u64,
    slow_watchers: u64,
}

impl Rates {
    /// Without a use before nobody knows what happened in between. Counts of the rest may go back.
    fn new(before: Option<&Use>, now: &Use, counted_s: f64) -> Self {
        let before = before.unwrap_or(now);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / counted_s;
        Self {
            reads_per_s: rate(now.reads, before.reads),
            writes_per_s: rate(now.writes, before.writes),
            written_bytes_per_s: rate(now.written_bytes, before.written_bytes),
            watchers: now.watchers,
            slow_watchers: now.slow_watchers,
        }
    }
}

/// The uses of an answer before. Which of them are named, and which are in the rest, depends on their ranks.
struct Earlier<'a> {
    uses: HashMap<Place<'a>, &'a Use>,
    has_rest: bool,
    /// Some that was named may be in the rest now.
    has_lost: bool,
}

impl<'a> Earlier<'a> {
    fn new(before: &'a TopResponse, now: &'a TopResponse) -> Self {
        let places: HashSet<_> = now.uses.iter().map(place).collect();
        // The place of a client that is gone is another one's later.
        let is_same = |used: &&Use| {
            let place = used.client as usize;
            before.clients.get(place) == now.clients.get(place)
        };
        let (kept, gone): (Vec<&Use>, Vec<&Use>) = before.uses.iter().partition(is_same);
        Self {
            has_rest: kept.iter().any(|it| it.is_rest),
            has_lost: !gone.is_empty() || kept.iter().any(|it| !places.contains(&place(it))),
            uses: kept.into_iter().map(|it| (place(it), it)).collect(),
        }
    }

    fn none() -> Self {
        Self {
            uses: HashMap::new(),
            has_rest: false,
            has_lost: false,
        }
    }

    /// Returns the use before, if it is known to be of the same requests.
    fn of(&self, now: &'a Use, client: &Client) -> Option<Use> {
        let found = self.uses.get(&place(now)).map(|it| (*it).clone());
        match now.is_rest || client.is_rest {
            true if self.has_lost => None,
            // It was part of the rest, or there was none of it.
            false if self.has_rest => found,
            _ => Some(found.unwrap_or_default()),
        }
    }
}

impl Frame {
    pub fn between(before: &TopResponse, now: &TopResponse) -> Self {
        // Another counting began at 0.
        let is_same = before.counting == now.counting;
        let from_ms = if is_same { before.counted_ms } else { 0 };
        let counted_ms = now.counted_ms.saturating_sub(from_ms).max(1);
        let counted_s = counted_ms as f64 / 1000.0;
        let earlier = match is_same {
            true => Earlier::new(before, now),
            false => Earlier::none(),
        };
        let mut groups: BTreeMap<String, Row> = BTreeMap::new();
        for group in &now.groups {
            let row = groups
                .entry(group_name(&group.prefix, group.is_rest))
                .or_default();
            row.size = group.clone();
        }
        let mut clients: BTreeMap<u32, Row> = BTreeMap::new();
        for used in &now.uses {
            let client = now.clients.get(used.client as usize);
            let client = client.cloned().unwrap_or_default();
            let rates = Rates::new(earlier.of(used, &client).as_ref(), used, counted_s);
            let group = group_name(&used.prefix, used.is_rest);
            let row = clients.entry(used.client).or_insert_with(|| Row {
                name: client_name(&client),
                user: client.user.clone(),
                agent: client.agent.clone(),
                ..Row::default()
            });
            row.add(&rates, &group);
            let row = groups.entry(group).or_default();
            row.add(&rates, &shown_client(&client));
        }
        let named = groups.into_iter().map(|(name, row)| Row { name, ..row });
        let is_active = |row: &Row| row.watchers > 0 || row.requests_per_s() > 0.0;
        Self {
            revision: now.revision,
            compact_revision: now.compact_revision,
            changes_left_out: now.changes_left_out,
            watchers_left_out: now.watchers_left_out,
            counted_s,
            groups: named.collect(),
            clients: clients.into_values().filter(is_active).collect(),
        }
    }

    /// Returns the largest groups, and the number of the others. A limit of 0 is none.
    pub fn groups(&self, sort: TopSort, limit: usize) -> (Vec<&Row>, usize) {
        let mut rows: Vec<&Row> = self.groups.iter().collect();
        if sort != TopSort::Prefix {
            rows.sort_by(|a, b| b.sorted_by(sort).total_cmp(&a.sorted_by(sort)));
        }
        limited(rows, limit)
    }

    /// Returns the clients with the most requests, and the number of the others.
    pub fn clients(&self, sort: TopSort, limit: usize) -> (Vec<&Row>, usize) {
        let mut rows: Vec<&Row> = self.clients.iter().collect();
        rows.sort_by(|a, b| match sort {
            TopSort::Reads | TopSort::Writes => b.sorted_by(sort).total_cmp(&a.sorted_by(sort)),
            _ => b.requests_per_s().total_cmp(&a.requests_per_s()),
        });
        if sort == TopSort::Watchers {
            rows.sort_by_key(|row| Reverse(row.watchers));
        }
        limited(rows, limit)
    }

    pub fn to_json(&self, sort: TopSort, limit: usize) -> Value {
        let (groups, other_groups) = self.groups(sort, limit);
        let (clients, other_clients) = self.clients(sort, limit);
        let groups = groups.into_iter().map(|row| {
            json!({
                "prefix": row.name,
                "keys": row.size.keys,
                "bytes": row.size.bytes,
                "changes": row.size.changes,
                "change_bytes": row.size.change_bytes,
                "reads_per_s": rounded(row.reads_per_s),
                "writes_per_s": rounded(row.writes_per_s),
                "written_bytes_per_s": rounded(row.written_bytes_per_s),
                "watchers": row.watchers,
                "slow_watchers": row.slow_watchers,
                "most_by": row.mostly,
            })
        });
        let clients = clients.into_iter().map(|row| {
            json!({
                "address": row.name,
                "user": row.user,
                "agent": row.agent,
                "reads_per_s": rounded(row.reads_per_s),
                "writes_per_s": rounded(row.writes_per_s),
                "written_bytes_per_s": rounded(row.written_bytes_per_s),
                "watchers": row.watchers,
                "slow_watchers": row.slow_watchers,
                "mostly": row.mostly,
            })
        });
        json!({
            "revision": self.revision,
            "compact_revision": self.compact_revision,
            "counted_s": self.counted_s,
            "changes_left_out": self.changes_left_out,
            "watchers_left_out": self.watchers_left_out,
            "groups": groups.collect::<Vec<_>>(),
            "other_groups": other_groups,
            "clients": clients.collect::<Vec<_>>(),
            "other_clients": other_clients,
        })
    }
}

fn limited(mut rows: Vec<&Row>, limit: usize) -> (Vec<&Row>, usize) {
    let limit = if limit == 0 { rows.len() } else { limit };
    let others = rows.len().saturating_sub(limit);
    rows.truncate(limit);
    (rows, others)
}

type Place<'a> = (&'a str, bool, u32);

fn place(used: &Use) -> Place<'_> {
    (&used.prefix, used.is_rest, used.client)
}

fn group_name(prefix: &str, is_rest: bool) -> String {
    match prefix {
        _ if is_rest => REST.to_owned(),
        "" => NO_PREFIX.to_owned(),
        prefix => prefix.to_owned(),
    }
}

fn client_name(client: &Client) -> String {
    match client.address.as_str() {
        _ if client.is_rest => REST.to_owned(),
        "" => "unix".to_owned(),
        address => address.to_owned(),
    }
}

/// Returns the name of a client beside others: its user, or else its program, at its address.
fn shown_client(client: &Client) -> String {
    let who = match (client.user.as_str(), client.agent.as_str()) {
        ("", "") => return client_name(client),
        ("", agent) => agent,
        (user, _) => user,
    };
    format!("{who} at {}", client_name(client))
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(counting: u64, counted_ms: u64, reads: u64) -> TopResponse {
        TopResponse {
            counting,
            counted_ms,
            clients: vec![Client {
                address: "10.0.0.1".to_owned(),
                agent: "kube-apiserver".to_owned(),
                ..Client::default()
            }],
            groups: vec![Group {
                prefix: "/registry/pods/".to_owned(),
                keys: 7,
                bytes: 700,
                ..Group::default()
            }],
            uses: vec![Use {
                prefix: "/registry/pods/".to_owned(),
                reads,
                ..Use::default()
            }],
            ..TopResponse::default()
        }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let frame = Frame::between(&answer(1, 1000, 10), &answer(1, 3000, 50));
        assert_eq!(frame.groups[0].reads_per_s, 20.0);
        assert_eq!(frame.groups[0].mostly, "kube-apiserver at 10.0.0.1");
        assert_eq!(frame.clients[0].mostly, "/registry/pods/");
    }

    #[test]
    fn a_counting_that_began_anew_has_no_part_of_the_one_before() {
        let frame = Frame::between(&answer(1, 100_000, 1000), &answer(2, 2000, 50));
        assert_eq!((frame.counted_s, frame.groups[0].reads_per_s), (2.0, 25.0));
    }

    fn add_use(answer: &mut TopResponse, prefix: &str, reads: u64) {
        answer.uses.push(Use {
            prefix: prefix.to_owned(),
            is_rest: prefix.is_empty(),
            reads,
            ..Use::default()
        });
    }

    fn reads(frame: &Frame, name: &str) -> f64 {
        let row = frame.groups.iter().find(|row| row.name == name);
        row.unwrap().reads_per_s
    }

    #[test]
    fn a_use_that_was_part_of_the_rest_does_not_count_as_a_whole() {
        let (mut before, mut now) = (answer(1, 1000, 10), answer(1, 2000, 20));
        add_use(&mut before, "", 1_000_000);
        // A million reads of long ago are named now.
        add_use(&mut now, "/registry/leases/", 1_000_001);
        add_use(&mut now, "", 3);
        let frame = Frame::between(&before, &now);
        assert_eq!(reads(&frame, "/registry/pods/"), 10.0);
        assert_eq!(reads(&frame, "/registry/leases/"), 0.0);
        assert_eq!(reads(&frame, REST), 0.0);
        // And back again.
        let frame = Frame::between(&now, &{
            let mut next = answer(1, 3000, 20);
            add_use(&mut next, "", 1_000_004);
            next
        });
        assert_eq!(reads(&frame, REST), 0.0);
    }

    #[test]
    fn a_use_that_is_new_counts() {
        let (before, mut now) = (answer(1, 1000, 10), answer(1, 2000, 10));
        add_use(&mut now, "/registry/leases/", 7);
        add_use(&mut now, "", 5);
        let frame = Frame::between(&before, &now);
        assert_eq!(reads(&frame, "/registry/leases/"), 7.0);
        assert_eq!(reads(&frame, REST), 5.0);
    }

    #[test]
    fn what_a_client_did_that_is_gone_is_no_rate_of_others() {
        let clients = |second: &str| {
            let others = Client {
                is_rest: true,
                ..Client::default()
            };
            let second = Client {
                address: second.to_owned(),
                ..Client::default()
            };
            vec![others, second]
        };
        let used = |client, reads| Use {
            prefix: "/a/".to_owned(),
            client,
            reads,
            ..Use::default()
        };
        let answer = |counted_ms, second: &str, uses| TopResponse {
            counting: 1,
            counted_ms,
            clients: clients(second),
            uses,
            ..TopResponse::default()
        };
        let before = answer(1000, "10.0.0.1", vec![used(0, 10), used(1, 1_000_000)]);
        // Its place is empty, then another one's.
        let now = answer(2000, "", vec![used(0, 1_000_010)]);
        assert_eq!(reads(&Frame::between(&before, &now), "/a/"), 0.0);
        let now = answer(2000, "10.0.0.2", vec![used(0, 1_000_010), used(1, 7)]);
        assert_eq!(reads(&Frame::between(&before, &now), "/a/"), 7.0);
    }

    #[test]
    fn a_client_that_does_nothing_is_not_shown() {
        let frame = Frame::between(&answer(1, 1000, 10), &answer(1, 2000, 10));
        assert!(frame.clients.is_empty());
        assert_eq!(frame.groups.len(), 1);
    }

    #[test]
    fn the_rest_is_counted() {
        let mut now = answer(1, 2000, 10);
        now.groups.push(Group {
            bytes: 900,
            is_rest: true,
            ..Group::default()
        });
        let frame = Frame::between(&answer(1, 1000, 10), &now);
        let (rows, others) = frame.groups(TopSort::Size, 1);
        assert_eq!((rows[0].name.as_str(), others), (REST, 1));
        let (rows, others) = frame.groups(TopSort::Prefix, 0);
        assert_eq!((rows.len(), others), (2, 0));
    }
}
