//! Three nodes, of which another leads.

use super::{Place, restored};
use crate::{harness::*, nodes::trio::Trio};

#[tokio::test]
async fn a_new_leader_goes_on_without_a_gap() {
    let place = Place::new();
    let mut trio = Trio::start_with(&place.options()).await;
    // So that what follows is in deltas, which a new leader can compare.
    place.wait_for(1).await;
    let mut last = 0;
    for round in 0..3 {
        let leader = trio.leader().await;
        let [asked, _] = trio.others(leader);
        let api = trio.nodes[leader].api().await;
        for i in 0..20 {
            last = api.put(&format!("key/{i}"), &round.to_string()).await;
        }
        place.wait_for(last).await;
        if round == 0 {
            // It believes to lead when it wakes, while another one does.
            trio.pause(leader);
            let next = trio.leader_of(&trio.others(leader)).await;
            let api = trio.nodes[next].api().await;
            last = api.put("while it slept", "1").await;
            place.wait_for(last).await;
            trio.wake(leader);
        } else {
            trio.nodes[leader].kill9();
            let next = trio.leader_of(&trio.others(leader)).await;
            let api = trio.nodes[next].api().await;
            last = api.put("after it was killed", &round.to_string()).await;
            place.wait_for(last).await;
            trio.nodes[leader].restart().await;
        }
        trio.wait_for_voters_at(asked, 3).await;
    }
    let (end, _) = place.check().await;
    assert_eq!(end.last.number(), last);
    let leader = trio.leader().await;
    let api = trio.nodes[leader].api().await;
    let (server, _) = restored(&place.url(), &[]).await;
    let copy = server.api().await;
    let all = || get_range(vec![0], vec![0]);
    assert_eq!(copy.ask(all()).await.kvs, api.ask(all()).await.kvs);
}
