//! The task that writes the archive while this node leads.

use std::{future::Future, pin::Pin, time::Duration};

use archive::{Objects, place::PlaceError};
use etcd_state::mvcc::Revision;
use stopping::warn;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    ARCHIVE, ArchiveError, ArchiveSettings, archiver::Archiver, collect::DELTA_BYTES,
    flush::Flushes,
};
use crate::{backup::Maker, store::Store};

/// Asked before each base.
pub type MakerNow = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Maker> + Send>> + Send + Sync>;

/// The pause after a failed attempt, which doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause after another node was found to have continued the archive, which then leads, as this one hears soon.
const LEADER_PAUSE: Duration = Duration::from_millis(500);

/// The interval at which it is looked how much waits to be archived, while something does.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Writes the archive whenever this node leads, until it is dropped.
pub async fn run(store: Store, mut settings: ArchiveSettings, maker: MakerNow, flushes: Flushes) {
    ARCHIVE.turn_on();
    let mut published = store.published();
    let mut pause = FIRST_PAUSE;
    let mut is_proven = false;
    loop {
        let asked = flushes.asked();
        if !store.leads() {
            ARCHIVE.set_writes(false);
            store.hold_above(Revision::MAX);
            flushes.answer(asked);
            let _ = tokio::time::timeout(LEADER_PAUSE, published.changed()).await;
            continue;
        }
        ARCHIVE.set_writes(true);
        // Until it is known what the archive has.
        store.hold_above(Revision::NONE);
        let mut steps = 0;
        let ended = async {
            if !is_proven {
                settings.place.prove_exclusive().await?;
                is_proven = true;
            }
            lead(&store, &settings, &maker, &flushes, &mut steps).await
        };
        let ended = ended.await.map_err(|error| error.at(&settings.place));
        if steps > 0 {
            pause = FIRST_PAUSE;
        }
        match ended {
            Ok(()) => {}
            Err(error) if error.is_change_of_leader(store.leads()) => sleep(LEADER_PAUSE).await,
            Err(error) => {
                failed(&store, &settings, &error, pause);
                flushes.answer(asked);
                if matches!(
                    error,
                    ArchiveError::Place(
                        PlaceError::Credentials { .. } | PlaceError::Forbidden { .. }
                    )
                ) && let Err(error) = settings.open_again()
                {
                    warn!(%error, "cannot open the archive again");
                }
                tokio::select! {
                    () = sleep(pause) => {}
                    () = flushes.another(asked) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn failed(store: &Store, settings: &ArchiveSettings, error: &ArchiveError, pause: Duration) {
    ARCHIVE.fell_behind(store.held_bytes());
    ARCHIVE.failed(error.to_string());
    let place = &settings.place;
    warn!(%error, "the archive {place} was not written; the next attempt is in {pause:?}");
}

/// Takes steps until this node leads no more, or one fails.
async fn lead(
    store: &Store,
    settings: &ArchiveSettings,
    maker: &MakerNow,
    flushes: &Flushes,
    steps: &mut u64,
) -> Result<(), ArchiveError> {
    let objects = Objects::new(settings.place.store().clone());
    let mut published = store.published();
    let mut archiver = Archiver::take_up(store, &objects, maker).await?;
    while store.leads() {
        published.borrow_and_update();
        let asked = flushes.asked();
        archiver.step().await?;
        *steps += 1;
        ARCHIVE.caught_up();
        flushes.answer(asked);
        tokio::select! {
            changed = published.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            () = flushes.another(asked) => continue,
        }
        tokio::select! {
            () = wait(store, settings.interval) => {}
            () = flushes.another(asked) => {}
        }
    }
    Ok(())
}

/// Waits for the interval to be over, or much to be there.
async fn wait(store: &Store, interval: Duration) {
    let due = Instant::now() + interval;
    while Instant::now() < due && store.leads() {
        let bytes = store.held_bytes();
        ARCHIVE.fell_behind(bytes);
        if bytes >= DELTA_BYTES {
            return;
        }
        sleep_until(due.min(Instant::now() + LOOK_INTERVAL)).await;
    }
}
