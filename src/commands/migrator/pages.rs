//! All entries of a server at one revision, in the order of keys, a page at a time.

use etcd_proto::etcdserverpb::{RangeRequest, RangeResponse};
use etcd_state::mvcc::Revision;
use tonic::{Code, Status};

use super::{MigrateError, entry::Entry};
use crate::remote::{EndpointUrl, Remote};

/// The size to aim at for a page, in bytes of keys and values.
const PAGE_BYTES: u64 = 2 * 1024 * 1024;

/// The number of keys of the first page, before it is known how large they are, and of any page.
const FIRST_PAGE_KEYS: i64 = 32;
const MAX_PAGE_KEYS: i64 = 10_000;

/// A range of keys; [`ALL`](KeySpan::ALL) is what etcd calls every key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpan {
    pub begin: &'static [u8],
    pub end: &'static [u8],
}

impl KeySpan {
    pub const ALL: Self = Self {
        begin: b"\0",
        end: b"\0",
    };

    /// The keys that begin with `/`. The Go k8s-dqlite knows no way to ask for all of them.
    pub const BELOW_SLASH: Self = Self {
        begin: b"/",
        end: b"0",
    };
}

/// The header of a server's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub revision: Revision,
    pub cluster_id: u64,
    pub member_id: u64,
}

impl Header {
    /// Returns whether the server is the Go k8s-dqlite, whose headers have nothing but the
    /// revision.
    pub fn is_of_go(&self) -> bool {
        self.cluster_id == 0 && self.member_id == 0
    }
}

/// A walk through one server.
pub struct Pages {
    remote: Remote,
    end: &'static [u8],
    revision: Revision,
    next_key: Option<Vec<u8>>,
    limit: i64,
    page: std::vec::IntoIter<Entry>,
}

/// Returns the server's header, and the number of keys that it has in the range: linearizable.
pub async fn survey(remote: &Remote, span: &KeySpan) -> Result<(Header, u64), MigrateError> {
    let request = RangeRequest {
        key: span.begin.into(),
        range_end: span.end.into(),
        count_only: true,
        ..Default::default()
    };
    let answer = remote.kv.clone().range(request).await;
    let answer = answer
        .map_err(|status| remote.failed(&status))?
        .into_inner();
    Ok((header(&answer), answer.count.max(0).cast_unsigned()))
}

fn header(answer: &RangeResponse) -> Header {
    let header = answer.header.unwrap_or_default();
    Header {
        revision: Revision::new(header.revision),
        cluster_id: header.cluster_id,
        member_id: header.member_id,
    }
}

impl Pages {
    pub fn new(remote: Remote, span: &KeySpan, revision: Revision) -> Self {
        Self {
            remote,
            end: span.end,
            revision,
            next_key: Some(span.begin.to_vec()),
            limit: FIRST_PAGE_KEYS,
            page: Vec::new().into_iter(),
        }
    }

    pub async fn next(&mut self) -> Result<Option<Entry>, MigrateError> {
        loop {
            if let Some(entry) = self.page.next() {
                return Ok(Some(entry));
            }
            let Some(key) = self.next_key.take() else {
                return Ok(None);
            };
            self.fetch(key).await?;
        }
    }

    async fn fetch(&mut self, key: Vec<u8>) -> Result<(), MigrateError> {
        let request = RangeRequest {
            key: key.clone().into(),
            range_end: self.end.into(),
            limit: self.limit,
            revision: self.revision.number(),
            ..Default::default()
        };
        let answer = self.remote.kv.clone().range(request).await;
        let answer = answer.map_err(|status| refused(&self.remote, &status))?;
        let answer = answer.into_inner();
        let page: Vec<Entry> = answer
            .kvs
            .into_iter()
            .map(|kv| Entry {
                key: kv.key,
                value: kv.value,
                lease: kv.lease,
            })
            .collect();
        check_order(&self.remote.url, &key, &page)?;
        let bytes: usize = page.iter().map(Entry::bytes).sum();
        self.limit = next_limit(page.len(), bytes as u64);
        if let Some(last) = page.last().filter(|_| answer.more) {
            self.next_key = Some([&last.key[..], b"\0"].concat());
        }
        self.page = page.into_iter();
        Ok(())
    }
}

/// A walk through keys that repeat would not end.
fn check_order(url: &EndpointUrl, from: &[u8], page: &[Entry]) -> Result<(), MigrateError> {
    let starts_after = page.first().is_none_or(|first| first.key >= *from);
    match starts_after && page.is_sorted_by(|a, b| a.key < b.key) {
        true => Ok(()),
        false => Err(MigrateError::Disorder(url.clone())),
    }
}

/// Keys of a page that has about [`PAGE_BYTES`], if they are like those of the last one.
fn next_limit(keys: usize, bytes: u64) -> i64 {
    let wanted = (keys as u64 * PAGE_BYTES)
        .checked_div(bytes)
        .unwrap_or(u64::MAX);
    i64::try_from(wanted).map_or(MAX_PAGE_KEYS, |wanted| wanted.clamp(1, MAX_PAGE_KEYS))
}

fn refused(remote: &Remote, status: &Status) -> MigrateError {
    let is_compacted = status.code() == Code::OutOfRange && status.message().contains("compacted");
    // The Go k8s-dqlite has its text, but not the code.
    match is_compacted
        || status
            .message()
            .contains("required revision has been compacted")
    {
        true => MigrateError::Compacted,
        false => remote.failed(status).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_about_the_same_number_of_bytes() {
        assert_eq!(next_limit(0, 0), MAX_PAGE_KEYS);
        assert_eq!(next_limit(32, 32 * 1024), 2048);
        assert_eq!(next_limit(32, 32 * 4 * 1024 * 1024), 1);
        assert_eq!(next_limit(32, 32), MAX_PAGE_KEYS);
    }

    #[test]
    fn keys_that_do_not_ascend_are_refused() {
        let url: EndpointUrl = "a:1".parse().unwrap();
        let page = |keys: &[&'static str]| -> Vec<Entry> {
            let entry = |key: &&'static str| Entry {
                key: key.as_bytes().into(),
                value: "".into(),
                lease: 0,
            };
            keys.iter().map(entry).collect()
        };
        assert!(check_order(&url, b"b", &page(&["b", "c"])).is_ok());
        assert!(check_order(&url, b"b", &page(&[])).is_ok());
        for wrong in [["a", "b"], ["c", "c"], ["d", "c"]] {
            assert!(check_order(&url, b"b", &page(&wrong)).is_err());
        }
    }
}
