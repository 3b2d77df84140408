//! A node that goes: asked of its own daemon, or, where that is stopped already, of another member.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use crate::{Error, client::Target, source::ready_member, state::StateDir};

/// A removal waits for promotions, and for nodes that do not answer.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Leaves the cluster. Returns whether there were other members.
pub async fn leave(state: &StateDir) -> Result<bool, Error> {
    let Some(own) = state.read_daemon()? else {
        return Ok(false);
    };
    let mut notes = Vec::new();
    let socket = Target::Socket(state.control_socket());
    let (asked, force) = match state.is_served().await {
        true => (socket, 0),
        false => match ready_member(state, &mut notes).await? {
            Some((_, member)) => (member, 1),
            // A member alone has nobody to tell.
            None if notes.is_empty() => return Ok(false),
            None => {
                return Err(Error::Unavailable(format!(
                    "no other member is ready, so they still have this node: {}",
                    notes.join("; ")
                )));
            }
        },
    };
    let path = format!("/core/1.0/cluster/{}?force={force}", own.name);
    asked
        .call::<Value>(Method::DELETE, &path, None, LEAVE_TIMEOUT)
        .await?;
    Ok(true)
}
