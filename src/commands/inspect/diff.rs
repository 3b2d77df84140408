//! `diff`: what happened to the keys below a prefix from one revision to another.
//!
//! Only the keys are read of both, and the values of those that differ.

use std::cmp::Ordering;

use etcd_proto::etcdserverpb::RangeRequest;

use super::{InspectError, connect, differences, indented, range, read, shown};
use crate::{args::DiffArgs, remote::Remote};

/// Keys that are asked for at once.
const PAGE_KEYS: i64 = 1000;

/// The most keys of one revision, and the most that may differ.
const MAX_KEYS: usize = 1_000_000;
const MAX_CHANGED: usize = 10_000;

/// The most bytes of the keys of one revision.
const MAX_KEY_BYTES: usize = 128 * 1024 * 1024;

/// The bytes of text after which changes are counted only.
const MAX_TEXT_BYTES: usize = 64 * 1024 * 1024;

pub async fn diff(args: &DiffArgs) -> Result<Vec<u8>, InspectError> {
    let mut remote = connect(&args.server).await?;
    let prefix = args.prefix.as_bytes();
    let to = match args.to {
        0 => read(&mut remote, first_key(prefix), 0).await?.1,
        revision => revision,
    };
    let old = keys(&mut remote, prefix, args.from).await?;
    let new = keys(&mut remote, prefix, to).await?;
    let changes = compare(&old, &new);
    if changes.len() > MAX_CHANGED {
        return Err(InspectError::TooMany {
            max: MAX_CHANGED,
            what: "keys differ",
        });
    }
    let mut report = Report::default();
    for (kind, key) in changes {
        if !report.begin(kind, key) || kind != Kind::Changed {
            continue;
        }
        let (old, _) = read(&mut remote, key, args.from).await?;
        let (new, _) = read(&mut remote, key, to).await?;
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        report.text += &indented(&differences(&old.value, &new.value));
    }
    Ok(report.finish(args.from, to).into_bytes())
}

/// The changes as text, and their numbers.
#[derive(Default)]
struct Report {
    text: String,
    counts: [u64; 3],
    hidden: u64,
}

impl Report {
    /// Counts a change, and returns whether there is room to show it.
    fn begin(&mut self, kind: Kind, key: &[u8]) -> bool {
        self.counts[kind as usize] += 1;
        let has_room = self.text.len() < MAX_TEXT_BYTES;
        match has_room {
            true => self.text += &format!("{} {}\n", kind.sign(), shown(key)),
            false => self.hidden += 1,
        }
        has_room
    }

    fn finish(mut self, from: i64, to: i64) -> String {
        if self.hidden > 0 {
            self.text += &format!(
                "{} further keys are not shown: name a longer prefix\n",
                self.hidden
            );
        }
        let [added, deleted, changed] = self.counts;
        self.text += &format!(
            "from revision {from} to {to}: {added} added, {deleted} deleted, {changed} changed\n"
        );
        self.text
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Added,
    Deleted,
    Changed,
}

impl Kind {
    fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Deleted => '-',
            Self::Changed => '~',
        }
    }
}

/// A key, and the revision of its last change.
type Entry = (Vec<u8>, i64);

/// Reads all keys with the prefix at a revision, in order.
async fn keys(
    remote: &mut Remote,
    prefix: &[u8],
    revision: i64,
) -> Result<Vec<Entry>, InspectError> {
    let end = prefix_end(prefix);
    let mut next = first_key(prefix).to_vec();
    let mut found = Vec::new();
    let mut key_bytes = 0;
    loop {
        let request = RangeRequest {
            key: next.into(),
            range_end: end.clone().into(),
            revision,
            limit: PAGE_KEYS,
            keys_only: true,
            ..RangeRequest::default()
        };
        let page = range(remote, request).await?;
        let entries = page.kvs.into_iter();
        found.extend(entries.map(|kv| {
            key_bytes += kv.key.len();
            (kv.key.to_vec(), kv.mod_revision)
        }));
        if key_bytes > MAX_KEY_BYTES {
            return Err(InspectError::TooMany {
                max: MAX_KEY_BYTES,
                what: "bytes of keys begin with the prefix",
            });
        }
        if found.len() > MAX_KEYS {
            return Err(InspectError::TooMany {
                max: MAX_KEYS,
                what: "keys begin with the prefix",
            });
        }
        match found.last() {
            Some((last, _)) if page.more => next = [last, &b"\0"[..]].concat(),
            _ => return Ok(found),
        }
    }
}

/// Returns the first key that may begin with the prefix: whoever may read the prefix may read it. An empty key is none.
fn first_key(prefix: &[u8]) -> &[u8] {
    match prefix {
        b"" => b"\0",
        prefix => prefix,
    }
}

/// Returns the key behind all that begin with the prefix, in etcd's form.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    // All keys.
    b"\0".to_vec()
}

/// Compares two lists in the order of keys.
fn compare<'a>(old: &'a [Entry], new: &'a [Entry]) -> Vec<(Kind, &'a [u8])> {
    let mut changes = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.0.cmp(&new.0),
        };
        let gone = old.next_if(|_| order.is_le());
        let here = new.next_if(|_| order.is_ge());
        match (gone, here) {
            (Some(old), Some(new)) if old.1 != new.1 => changes.push((Kind::Changed, &*new.0)),
            (Some(old), None) => changes.push((Kind::Deleted, &*old.0)),
            (None, Some(new)) => changes.push((Kind::Added, &*new.0)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        for (prefix, end) in [
            (&b"/a/"[..], &b"/a0"[..]),
            (b"a\xff", b"b"),
            (b"\xff", b"\0"),
            (b"", b"\0"),
        ] {
            assert_eq!(prefix_end(prefix), end, "{prefix:?}");
        }
    }

    #[test]
    fn keys_are_added_deleted_or_changed() {
        let list = |entries: &[(&str, i64)]| -> Vec<Entry> {
            let entries = entries.iter();
            entries
                .map(|(key, at)| (key.as_bytes().to_vec(), *at))
                .collect()
        };
        let old = list(&[("a", 2), ("b", 3), ("c", 4)]);
        let new = list(&[("b", 3), ("c", 9), ("d", 8)]);
        let expected = [
            (Kind::Deleted, &b"a"[..]),
            (Kind::Changed, b"c"),
            (Kind::Added, b"d"),
        ];
        assert_eq!(compare(&old, &new), expected);
        assert_eq!(compare(&old, &old), []);
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let mut report = Report::default();
        assert!(report.begin(Kind::Changed, b"first"));
        report.text += &"x".repeat(MAX_TEXT_BYTES);
        assert!(!report.begin(Kind::Changed, b"second"));
        assert!(!report.begin(Kind::Added, b"third"));
        let text = report.finish(2, 3);
        let end = "2 further keys are not shown: name a longer prefix\n\
                   from revision 2 to 3: 1 added, 0 deleted, 2 changed\n";
        assert!(text.ends_with(end));
    }
}
