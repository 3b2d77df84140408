//! The sub-command `get`: the keys of a server that runs, with values as people read them.
//!
//! It asks through etcd's API, as any client, and changes nothing.

mod cbor;
mod get;
mod kubernetes;
mod value;

use etcd_proto::{
    etcdserverpb::{RangeRequest, RangeResponse},
    mvccpb::KeyValue,
};
use tonic::{Code, Status};

pub use self::get::get;
use crate::{
    args::ServerFlags,
    remote::{Remote, RemoteError},
};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_control_the_terminal() {
        assert_eq!(shown("/registry/pods/ä".as_bytes()), "/registry/pods/ä");
        assert_eq!(shown(b"\x1b[31m"), "\\x1b[31m");
    }
}
