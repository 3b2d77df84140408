//! The behaviour that all places have in common.

use archive::place::{PART_BYTES, Place, PlaceError};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

/// Writers of one name at a time.
const WRITERS: usize = 8;

async fn names(place: &Place, folder: &str, after: Option<&str>) -> Vec<String> {
    let listed = place.list(folder, after).map_ok(|found| found.name);
    listed.try_collect().await.unwrap()
}

/// Tries all of it in an empty place.
pub async fn check(place: &Place) {
    objects_come_and_go(place).await;
    one_of_many_creates_a_name(place).await;
    large_objects_come_in_pieces(place).await;
    place.prove_exclusive().await.unwrap();
    assert!(names(place, "probe", None).await.is_empty());
}

async fn objects_come_and_go(place: &Place) {
    assert!(names(place, "delta", None).await.is_empty());
    let content = |at: usize| Bytes::from(format!("content of {at}"));
    let name = |at: usize| format!("delta/{at:020}-0000000000");
    for at in [3, 1, 2, 10] {
        place.create(&name(at), content(at)).await.unwrap();
    }
    // The same again is what a lost answer leads to.
    place.create(&name(1), content(1)).await.unwrap();
    let other = place.create(&name(1), content(2)).await;
    assert!(matches!(other, Err(PlaceError::Exists { .. })), "{other:?}");
    assert_eq!(place.read(&name(1)).await.unwrap(), content(1));
    assert_eq!(
        &place.read_start(&name(1), 7).await.unwrap()[..],
        b"content"
    );
    assert_eq!(place.read_start(&name(1), 700).await.unwrap(), content(1));
    let all = [1, 2, 3, 10].map(name);
    assert_eq!(names(place, "delta", None).await, all);
    assert_eq!(names(place, "delta", Some(&name(2))).await, all[2..]);
    assert!(names(place, "base", None).await.is_empty());
    place.remove(&name(2)).await.unwrap();
    place.remove(&name(2)).await.unwrap();
    let missing = place.read(&name(2)).await;
    assert!(
        matches!(missing, Err(PlaceError::Missing { .. })),
        "{missing:?}"
    );
    place.create(&name(2), content(5)).await.unwrap();
}

async fn one_of_many_creates_a_name(place: &Place) {
    for round in 0..4 {
        let name = format!("race/{round}");
        let writers = stream::iter(0..WRITERS).map(|writer| {
            let content = Bytes::from(vec![writer as u8; 1000]);
            let (place, name) = (place.clone(), name.clone());
            async move {
                loop {
                    match place.create(&name, content.clone()).await {
                        Ok(()) => return Some(content),
                        Err(PlaceError::Exists { .. }) => return None,
                        Err(error) if error.is_passing() => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
        let won: Vec<Option<Bytes>> = writers.buffer_unordered(WRITERS).collect().await;
        let won: Vec<Bytes> = won.into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        assert_eq!(place.read(&name).await.unwrap(), won[0]);
    }
}

async fn large_objects_come_in_pieces(place: &Place) {
    let content: Vec<u8> = (0..2 * PART_BYTES + 4321)
        .map(|at| (at / 7 % 251) as u8)
        .collect();
    let mut upload = place.upload("base/large");
    for piece in content.chunks(1_000_003) {
        upload.write(piece).await.unwrap();
    }
    let early = place.read_start("base/large", 1).await;
    assert!(
        matches!(early, Err(PlaceError::Missing { .. })),
        "{early:?}"
    );
    upload.finish().await.unwrap();
    for from in [0, 1, PART_BYTES, content.len() - 1] {
        let reading = place.reader("base/large", from as u64).await.unwrap();
        assert_eq!(reading.bytes(), content.len() as u64);
        assert!(
            reading.rest().await.unwrap() == content[from..],
            "from {from}"
        );
    }
    let mut abandoned = place.upload("base/abandoned");
    abandoned.write(&content).await.unwrap();
    abandoned.abandon().await.unwrap();
    let mut small = place.upload("base/small");
    small.write(b"small").await.unwrap();
    small.finish().await.unwrap();
    assert_eq!(
        names(place, "base", None).await,
        ["base/large", "base/small"]
    );
}
