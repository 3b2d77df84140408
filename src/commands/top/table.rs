//! `top` for people: one table of groups, one of clients.

use tables::{bytes, columns};

use super::frame::{Frame, Row};
use crate::args::TopSort;

const GROUPS: [&str; 10] = [
    "PREFIX",
    "KEYS",
    "SIZE",
    "CHANGES",
    "CHANGED",
    "READS/S",
    "WRITES/S",
    "WRITTEN/S",
    "WATCHERS",
    "MOST BY",
];

const CLIENTS: [&str; 8] = [
    "CLIENT",
    "USER",
    "PROGRAM",
    "READS/S",
    "WRITES/S",
    "WRITTEN/S",
    "WATCHERS",
    "MOST OF",
];

pub fn write(frame: &Frame, sort: TopSort, limit: usize) -> String {
    let keys: u64 = frame.groups.iter().map(|row| row.size.keys).sum();
    let size: u64 = frame.groups.iter().map(|row| row.size.bytes).sum();
    let compacted = match frame.compact_revision {
        0 => "not compacted yet".to_owned(),
        revision => format!("compacted at {revision}"),
    };
    let mut text = format!(
        "Revision {}, {compacted}; {keys} keys, {}; requests of {:.1} s\n",
        frame.revision,
        bytes(size),
        frame.counted_s
    );
    for (count, what) in [
        (frame.changes_left_out, "revisions since the compaction"),
        (frame.watchers_left_out, "watchers"),
    ] {
        if count > 0 {
            text += &format!("{count} {what} are not in the tables: there are too many\n");
        }
    }
    let (groups, others) = frame.groups(sort, limit);
    text.push('\n');
    text += &columns(&GROUPS, groups.into_iter().map(group));
    text += &left_out(others, "prefixes");
    let (clients, others) = frame.clients(sort, limit);
    if !clients.is_empty() {
        text.push('\n');
        text += &columns(&CLIENTS, clients.into_iter().map(client));
        text += &left_out(others, "clients");
    }
    text
}

fn group(row: &Row) -> Vec<String> {
    vec![
        row.name.clone(),
        row.size.keys.to_string(),
        bytes(row.size.bytes),
        row.size.changes.to_string(),
        bytes(row.size.change_bytes),
        rate(row.reads_per_s),
        rate(row.writes_per_s),
        bytes(row.written_bytes_per_s as u64),
        watchers(row),
        known(&row.mostly),
    ]
}

fn client(row: &Row) -> Vec<String> {
    vec![
        row.name.clone(),
        known(&row.user),
        known(&row.agent),
        rate(row.reads_per_s),
        rate(row.writes_per_s),
        bytes(row.written_bytes_per_s as u64),
        watchers(row),
        known(&row.mostly),
    ]
}

fn left_out(count: usize, what: &str) -> String {
    match count {
        0 => String::new(),
        count => format!("and {count} more {what}: --limit 0 shows all\n"),
    }
}

fn watchers(row: &Row) -> String {
    match row.slow_watchers {
        0 => row.watchers.to_string(),
        slow => format!("{}, {slow} slow", row.watchers),
    }
}

fn rate(per_s: f64) -> String {
    match per_s {
        0.0 => "0".to_owned(),
        10.0.. => format!("{per_s:.0}"),
        _ => format!("{per_s:.1}"),
    }
}

fn known(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    }
}
