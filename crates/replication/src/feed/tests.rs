use super::*;

fn at(number: i64) -> Revision {
    Revision::new(number)
}

fn state(cluster_id: u64, revision: i64, compact_revision: i64) -> StoreState {
    StoreState {
        cluster_id,
        revision: at(revision),
        compact_revision: at(compact_revision),
    }
}

#[test]
fn a_follower_continues_if_the_history_has_all_that_it_lacks() {
    let leader = state(1, 100, 50);
    for (follower, expected) in [
        (state(1, 50, 7), Beginning::Continues),
        (state(1, 100, 50), Beginning::Continues),
        (state(1, 49, 7), Beginning::Whole),
        (state(1, 0, 0), Beginning::Whole),
        (state(2, 60, 50), Beginning::Whole),
        (state(1, 101, 50), Beginning::Whole),
    ] {
        assert_eq!(beginning(follower, leader), expected, "{follower:?}");
    }
    assert!(is_ahead(state(1, 101, 50), leader));
    assert!(!is_ahead(state(2, 101, 50), leader));
    assert!(!is_ahead(leader, leader));
}

#[test]
fn settings_are_sent_once_with_the_first_rows_and_compactions_once_after_the_last() {
    let mut feed = Feed::new(at(10), at(3));
    let settings = || "first";
    assert_eq!(feed.next_revision(), at(11));
    let flush = Flush::new(at(5), at(14));
    assert_eq!(
        feed.decide(flush, Some(at(13)), at(14), settings),
        Command::SendRows {
            settings: Some("first")
        }
    );
    assert_eq!(
        feed.decide(flush, Some(at(14)), at(14), settings),
        Command::SendLast {
            settings: None,
            compact_revision: Some(at(5)),
        }
    );
    assert_eq!(
        feed.decide(Flush::new(at(5), at(14)), None, at(14), settings),
        Command::SendLast {
            settings: None,
            compact_revision: None,
        }
    );
}

#[test]
fn revisions_without_rows_are_passed_over() {
    let mut feed = Feed::new(at(10), at(0));
    let command = feed.decide(Flush::new(at(0), at(20)), None, at(20), || ());
    assert!(matches!(command, Command::SendLast { .. }));
    assert_eq!(feed.next_revision(), at(21));
}

proptest::proptest! {
    /// Each revision is sent once, in order, and a compaction only after all revisions that it is above, whatever is
    /// published between the steps of a session.
    #[test]
    fn the_feed_is_gapless(published in proptest::collection::vec((0_i64..6, 0_i64..3), 1..60), chunk in 1_i64..4) {
        let (mut head, mut compacted) = (10, 0);
        let mut feed = Feed::new(at(10), at(0));
        let mut sent = 10;
        let mut flush = None;
        for (rows, compaction) in published {
            head += rows;
            let begun = *flush.get_or_insert_with(|| Flush::new(at(compacted), at(head)));
            if compaction == 0 {
                compacted = head;
            }
            let from = feed.next_revision().number();
            proptest::prop_assert_eq!(from, sent + 1);
            let last = (from <= head).then(|| head.min(from + chunk - 1));
            sent = last.unwrap_or(sent);
            match feed.decide(begun, last.map(at), at(head), || ()) {
                Command::SendRows { .. } => proptest::prop_assert!(sent < head),
                Command::SendLast { compact_revision, .. } => {
                    proptest::prop_assert_eq!(sent, head);
                    proptest::prop_assert!(compact_revision.is_none_or(|revision| revision <= at(sent)));
                    flush = None;
                }
            }
        }
    }
}
