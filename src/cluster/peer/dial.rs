//! Links to other nodes: HTTP/2 on their dqlite port.

use std::{io, time::Duration};

use dqlite::{client::Resolve, proxy::connect_peer, wire::NodeId};
use hyper_util::rt::TokioIo;
use peer_proto::{
    AboutRequest, AboutResponse, CertificatesRequest, CertificatesResponse, RememberedRequest,
    RememberedResponse, peer_client::PeerClient,
};
use tonic::{
    Code,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

/// A connection, TLS included, is made within this time, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The interval of pings to the leader, and the longest wait for the answer: a link through which
/// nothing comes any more ends after both. Followers learn of a new leader from their engine,
/// earlier.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that may be under way on a link.
pub const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The largest message on a link, in bytes: a batch of the largest requests.
pub const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// Dials other nodes.
#[derive(Clone)]
pub struct Dialer {
    resolve: Resolve,
}

impl Dialer {
    pub fn new(resolve: Resolve) -> Self {
        Self { resolve }
    }

    pub async fn dial(
        &self,
        address: &str,
    ) -> Result<PeerClient<Channel>, tonic::transport::Error> {
        // The name in it is nobody's: the connector knows where to go.
        let endpoint = Endpoint::from_static("http://peer.k8s-dqlite")
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let node = (self.resolve)(address);
        let connector = service_fn(move |_: Uri| {
            let node = node.clone();
            async move {
                let stream = connect_peer(&node).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        let channel = endpoint.connect_with_connector(connector).await?;
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// Returns what another node says about itself and the leader; none if it does not answer.
    pub async fn about(&self, address: &str) -> Option<AboutResponse> {
        let mut client = self.dial(address).await.ok()?;
        let about = client.about(AboutRequest::default()).await.ok()?;
        Some(about.into_inner())
    }

    /// Returns the end of a node's log as another node has heard of it; none if it does not answer.
    pub async fn remembered(&self, address: &str, member_id: NodeId) -> Option<RememberedResponse> {
        let mut client = self.dial(address).await.ok()?;
        let answer = client
            .remembered(RememberedRequest {
                member_id: member_id.number(),
            })
            .await;
        // One of an earlier version has no such call.
        answer.ok().map(tonic::Response::into_inner)
    }

    /// Has a node make a step towards another pair. The caller sets the deadline.
    pub async fn certificates(
        &self,
        address: &str,
        request: CertificatesRequest,
    ) -> Result<CertificatesResponse, NotMade> {
        let client = self.dial(address).await;
        let mut client = client.map_err(|error| NotMade::Unreachable(reason(&error)))?;
        match client.certificates(request).await {
            Ok(told) => Ok(told.into_inner()),
            Err(status) => Err(match status.code() {
                Code::Unimplemented => NotMade::Refused(
                    "it runs an earlier version of k8s-dqlite: upgrade it first".to_owned(),
                ),
                Code::FailedPrecondition | Code::Internal => {
                    NotMade::Refused(status.message().to_owned())
                }
                _ => NotMade::Unreachable(reason(&status)),
            }),
        }
    }

    /// Returns all that another node says about itself. Fails with the reason if it does not
    /// answer.
    pub async fn details(&self, address: &str) -> Result<AboutResponse, String> {
        let mut client = self.dial(address).await.map_err(|error| reason(&error))?;
        let request = AboutRequest { with_details: true };
        let about = client.about(request).await;
        about
            .map(tonic::Response::into_inner)
            .map_err(|status| reason(&status))
    }
}

/// The reason why a node has not made a step towards another pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotMade {
    /// It is not reached, or does not let this program in.
    Unreachable(String),
    /// It refuses, or cannot.
    Refused(String),
}

/// The innermost cause: what is around it says "transport error".
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
