use std::{net::Ipv6Addr, task::Waker};

use super::*;

const LIMITS: Limits = Limits {
    strangers: 3,
    known: 2,
};

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([10, 0, 0, last]))
}

fn is_closed(place: &Place) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    place.poll_closed(&mut context).is_ready()
}

#[test]
fn the_oldest_of_too_many_strangers_goes_and_who_left_makes_room() {
    let places = Places::new(LIMITS);
    let first = places.enter(address(1));
    let second = places.enter(address(1));
    let third = places.enter(address(1));
    drop(second);
    let fourth = places.enter(address(1));
    assert!(![&first, &third, &fourth].into_iter().any(is_closed));
    let _fifth = places.enter(address(1));
    assert!(is_closed(&first));
    assert!(![&third, &fourth].into_iter().any(is_closed));
}

#[test]
fn the_address_with_the_most_strangers_pays() {
    let places = Places::new(LIMITS);
    let other = places.enter(address(2));
    let first = places.enter(address(1));
    let _second = places.enter(address(1));
    let _third = places.enter(address(1));
    assert!(is_closed(&first) && !is_closed(&other));
}

#[test]
fn a_client_has_a_network_of_addresses() {
    let address = |last| Some(IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, last)));
    assert_eq!(Origin::from(address(1)), Origin::from(address(2)));
    let mapped = "::ffff:10.0.0.1".parse().ok();
    assert_eq!(Origin::from(mapped), Origin::from(self::address(1)));
}

#[test]
fn the_longest_idle_connection_makes_room_and_one_with_a_call_never_does() {
    let places = Places::new(LIMITS);
    let [first, second, third] = [1, 2, 3].map(|last| places.enter(address(last)));
    let call = first.begin();
    drop(second.begin());
    // Strangers do not push known ones out.
    let strangers: Vec<Place> = (0..9).map(|_| places.enter(address(4))).collect();
    assert!(![&first, &second, &third].into_iter().any(is_closed));
    drop(strangers);
    let kept = third.begin();
    assert!(is_closed(&second) && !is_closed(&first) && !is_closed(&third));
    // All have calls.
    let fourth = places.enter(address(4));
    drop(fourth.begin());
    assert!(is_closed(&fourth) && !is_closed(&first) && !is_closed(&third));
    drop(call);
    let fifth = places.enter(address(4));
    let _call = fifth.begin();
    assert!(is_closed(&first) && !is_closed(&third) && !is_closed(&fifth));
    drop(kept);
}

#[tokio::test]
async fn a_listener_waits_for_those_that_close() {
    let places = Places::new(LIMITS);
    let told: Vec<Place> = (0..MAX_CLOSING + LIMITS.strangers)
        .map(|_| places.enter(address(1)))
        .collect();
    let room = tokio::spawn({
        let places = places.clone();
        async move { places.room().await }
    });
    tokio::task::yield_now().await;
    assert!(!room.is_finished());
    told[0].closed().await;
    drop(told);
    room.await.unwrap();
    assert_eq!(places.0.lock().closing, 0);
    assert!(places.0.lock().strangers.is_empty());
}
