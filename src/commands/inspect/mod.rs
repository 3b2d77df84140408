//! The sub-commands `get`, `history` and `diff`: the keys of a server that runs, with values as people read them.
//!
//! They ask through etcd's API, as any client, and change nothing.

mod cbor;
mod diff;
mod get;
mod history;
mod kubernetes;
mod value;

use etcd_proto::{
    etcdserverpb::{RangeRequest, RangeResponse},
    mvccpb::KeyValue,
};
use similar::TextDiff;
use tonic::{Code, Status};

use self::value::Decoded;
pub use self::{diff::diff, get::get, history::history};
use crate::{
    args::ServerFlags,
    remote::{Remote, RemoteError},
};

/// Lines around each difference.
const CONTEXT_LINES: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(
        "there is no key {key}{at}; k8s-dqlite history lists the revisions of a key that was deleted"
    )]
    NoKey { key: String, at: String },
    #[error(
        "the server does not have revision {revision}: {reason}; k8s-dqlite history lists those of a key"
    )]
    NoRevision { revision: i64, reason: String },
    #[error("more than {max} {what}: name a longer prefix")]
    TooMany { max: usize, what: &'static str },
    #[error("the server did not tell the history of the key within {seconds} s")]
    Late { seconds: u64 },
}

async fn connect(server: &ServerFlags) -> Result<Remote, RemoteError> {
    let (files, login) = (server.remote.tls_files(), server.remote.login());
    Remote::connect(&server.endpoint, &files, login.as_ref()).await
}

/// Reads one key. Revision 0 is now.
async fn read(
    remote: &mut Remote,
    key: &[u8],
    revision: i64,
) -> Result<(Option<KeyValue>, i64), InspectError> {
    let request = RangeRequest {
        key: key.to_vec().into(),
        revision,
        ..RangeRequest::default()
    };
    let mut answer = range(remote, request).await?;
    let head = answer.header.as_ref().map_or(0, |header| header.revision);
    Ok((answer.kvs.pop(), head))
}

async fn range(remote: &mut Remote, request: RangeRequest) -> Result<RangeResponse, InspectError> {
    let revision = request.revision;
    let asked = remote.kv.range(request).await;
    Ok(asked
        .map_err(|status| failed(remote, revision, &status))?
        .into_inner())
}

fn failed(remote: &Remote, revision: i64, status: &Status) -> InspectError {
    match status.code() {
        Code::OutOfRange => InspectError::NoRevision {
            revision,
            reason: status.message().to_owned(),
        },
        _ => remote.failed(status).into(),
    }
}

/// Returns a key for a terminal.
fn shown(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    }
}

/// Returns the differences between two values, as lines with `+` and `-`.
fn differences(old: &[u8], new: &[u8]) -> String {
    let (old_text, new_text) = (Decoded::of(old).to_text(), Decoded::of(new).to_text());
    if old == new {
        return String::new();
    }
    if old_text == new_text {
        return "(what differs is not decoded: compare with get -o raw)\n".to_owned();
    }
    let diff = TextDiff::from_lines(old_text.as_str(), new_text.as_str());
    diff.unified_diff()
        .context_radius(CONTEXT_LINES)
        .to_string()
}

/// Returns the text with each line a step to the right.
fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("    {line}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::{kubernetes::tests::stored, *};

    #[test]
    fn differences_are_those_of_what_is_decoded() {
        let lines = differences(&stored("web", "front"), &stored("web", "back"));
        assert!(
            lines.contains("\n-    app: front\n+    app: back\n"),
            "{lines}"
        );
        assert_eq!(differences(b"a", b"a"), "");
        let mut other = stored("web", "front");
        let last = other.len() - 1;
        other[last] ^= 1;
        assert!(differences(&stored("web", "front"), &other).contains("not decoded"));
    }

    #[test]
    fn a_key_does_not_control_the_terminal() {
        assert_eq!(shown("/registry/pods/ä".as_bytes()), "/registry/pods/ä");
        assert_eq!(shown(b"\x1b[31m"), "\\x1b[31m");
    }
}
