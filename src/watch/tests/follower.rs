//! Watches of this process itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_state::mvcc::{KeyRange, Revision};

use super::client::{event_revisions, hub, settle};

use crate::watch::{
    FollowError, Follower, Inbox, Options, WatchHub,
    testing::{TestStore, delete, put},
};

/// Long enough never to happen in a test.
const NO_PROGRESS: Duration = Duration::from_secs(3600);

fn start() -> (TestStore, Arc<Inbox>, Arc<WatchHub>) {
    let store = TestStore::new();
    let inbox = Arc::new(Inbox::default());
    let hub = hub(&store.history, &inbox, NO_PROGRESS);
    let task = Arc::clone(&hub);
    tokio::spawn(async move { task.run().await });
    (store, inbox, hub)
}

/// Follows the deletions of `k`.
fn follow(hub: &Arc<WatchHub>, from: Revision) -> Follower {
    let options = Options {
        no_put: true,
        ..Options::default()
    };
    let key = KeyRange::new(Bytes::from_static(b"k"), Bytes::new());
    Follower::new(hub, key, from, options).expect("the hub is running")
}

#[tokio::test]
async fn a_follower_hears_of_the_past_and_the_present() {
    let (mut store, inbox, hub) = start();
    for op in [put("k", "1"), delete("k"), put("k", "2"), put("other", "")] {
        inbox.publish(&[store.commit(&[op]).unwrap()]);
    }
    let mut follower = follow(&hub, Revision::new(2));
    let past = follower.next().await.unwrap();
    assert_eq!(event_revisions(&[past]), [3]);
    let commits = [put("k", "3"), delete("k")].map(|op| store.commit(&[op]).unwrap());
    inbox.publish(&commits);
    let present = follower.next().await.unwrap();
    assert_eq!(event_revisions(&[present]), [7]);
}

#[tokio::test]
async fn a_follower_is_told_that_its_past_is_compacted() {
    let (mut store, inbox, hub) = start();
    for op in [put("k", "1"), delete("k"), put("k", "2")] {
        inbox.publish(&[store.commit(&[op]).unwrap()]);
    }
    settle().await;
    store.history.compact(Revision::new(4)).unwrap();
    let lost = follow(&hub, Revision::new(2)).next().await;
    assert_eq!(lost.unwrap_err(), FollowError::Lost);
}

#[tokio::test]
async fn followers_end_when_the_server_stops() {
    let (_store, _inbox, hub) = start();
    let mut follower = follow(&hub, Revision::new(2));
    hub.stop();
    assert_eq!(follower.next().await.unwrap_err(), FollowError::Stopped);
    let key = KeyRange::new(Bytes::from_static(b"k"), Bytes::new());
    let refused = Follower::new(&hub, key, Revision::new(2), Options::default());
    assert_eq!(refused.err(), Some(FollowError::Stopped));
}
