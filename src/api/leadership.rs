//! Calls that ask for a leader, by the metadata `hasleader: true`: as in etcd
//! (`api/v3rpc/interceptor.go`) they are refused while there is none, and streams end once it is lost.
//!
//! A stream that begins in an election stays unless that takes long, where etcd refuses it: clientv3
//! gives up all watches of a refused stream, and each crash of a leader makes clients open streams
//! at other nodes at that moment.

use std::pin::Pin;

use axum::http::HeaderMap;
use tokio::sync::watch;
use tonic::Status;

use crate::cluster::peer::ClusterView;

const REQUIRE_LEADER: &str = "hasleader";

/// Ready when the leader is lost.
pub type Lost = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// The knowledge of this node about the leader; none where nothing depends on one.
#[derive(Clone, Default)]
pub struct Leadership(Option<watch::Receiver<ClusterView>>);

impl Leadership {
    pub fn new(cluster_view: watch::Receiver<ClusterView>) -> Self {
        Self(Some(cluster_view))
    }

    /// Refuses a call that asks for a leader in vain. Returns the end of a stream that asks for one.
    pub fn check(&self, headers: &HeaderMap, is_stream: bool) -> Result<Option<Lost>, Status> {
        let Some(cluster_view) = self.0.as_ref().filter(|_| is_required(headers)) else {
            return Ok(None);
        };
        let is_without = {
            let known = cluster_view.borrow();
            match is_stream {
                true => known.is_lost,
                false => known.view.leader.is_none(),
            }
        };
        if is_without {
            return Err(no_leader());
        }
        Ok(is_stream.then(|| lost(cluster_view.clone())))
    }
}

fn lost(mut cluster_view: watch::Receiver<ClusterView>) -> Lost {
    Box::pin(async move {
        // The monitor ends only with the server, which ends streams in its own way.
        if cluster_view.wait_for(|known| known.is_lost).await.is_err() {
            std::future::pending().await
        }
    })
}

pub fn is_required(headers: &HeaderMap) -> bool {
    let value = headers.get(REQUIRE_LEADER);
    value.is_some_and(|value| value == "true")
}

pub fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}

#[cfg(test)]
mod tests {
    use replication::View;

    use super::*;

    fn known(has_leader: bool, is_lost: bool) -> ClusterView {
        ClusterView {
            view: View {
                leader: has_leader.then(|| (1, "a:1".to_owned())),
                term: 1,
            },
            is_lost,
            servers: Vec::new(),
        }
    }

    fn asking(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(REQUIRE_LEADER, value.parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn who_asks_for_a_leader_is_refused_or_ended_without() {
        let (views, cluster_view) = watch::channel(known(true, false));
        let leadership = Leadership::new(cluster_view);
        let headers = asking("true");
        let refused = |is_stream| leadership.check(&headers, is_stream).is_err();
        assert!(leadership.check(&headers, false).unwrap().is_none());
        let lost = leadership.check(&headers, true).unwrap().unwrap();
        views.send_replace(known(false, false));
        assert_eq!((refused(false), refused(true)), (true, false));
        let in_election = leadership.check(&headers, true).unwrap().unwrap();
        views.send_replace(known(false, true));
        lost.await;
        in_election.await;
        assert_eq!((refused(false), refused(true)), (true, true));
        for headers in [HeaderMap::new(), asking("false"), asking("")] {
            assert!(leadership.check(&headers, false).unwrap().is_none());
            assert!(leadership.check(&headers, true).unwrap().is_none());
        }
        views.send_replace(known(true, false));
        assert_eq!((refused(false), refused(true)), (false, false));
    }
}
