//! The name of the client of a request, for those who look at what clients do.

use tonic::{Extensions, codegen::http::header::USER_AGENT, metadata::MetadataMap};

use super::{Peer, access::Access};
use crate::top::ClientName;

/// Returns who sends a request: the address without its port, the user, and the program.
pub fn client_name(access: &Access, metadata: &MetadataMap, extensions: &Extensions) -> ClientName {
    let peer = extensions.get::<Peer>();
    let address = peer.and_then(|peer| peer.address.ip());
    let caller = access.caller_of(metadata, extensions).ok().flatten();
    let user = match &caller {
        Some(caller) => caller.user_name(),
        None => peer.and_then(Peer::common_name),
    };
    let agent = metadata.get(USER_AGENT.as_str());
    ClientName::new(
        address
            .map(|ip| ip.to_canonical().to_string())
            .unwrap_or_default(),
        user.unwrap_or_default(),
        agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default(),
    )
}
