//! Saves the keys of a server into files.

use std::path::Path;

use tracing::debug;

use super::{
    MigrateError,
    directory::Directory,
    entry::Entry,
    pages::{KeySpan, Pages, survey},
};
use crate::{process::progress::Progress, remote::Remote};

/// The most attempts when the revision is compacted in between.
const MAX_ATTEMPTS: usize = 3;

/// Saves all keys, the last of them first.
pub async fn etcd(remote: Remote, dir: &Path) -> Result<u64, MigrateError> {
    dump(remote, dir, &KeySpan::ALL, |index, count| count - 1 - index).await
}

/// Saves the keys below `/`, ascending.
pub async fn dqlite(remote: Remote, dir: &Path) -> Result<u64, MigrateError> {
    dump(remote, dir, &KeySpan::BELOW_SLASH, |index, _| index).await
}

/// Saves the keys of a span. `place` returns the number of the file for an entry, given its index
/// and the count.
async fn dump(
    remote: Remote,
    dir: &Path,
    span: &KeySpan,
    place: impl Fn(u64, u64) -> u64,
) -> Result<u64, MigrateError> {
    let mut attempts = MAX_ATTEMPTS;
    loop {
        attempts -= 1;
        match dump_once(&remote, dir, span, &place).await {
            Err(MigrateError::Compacted) if attempts > 0 => {}
            other => return other,
        }
    }
}

async fn dump_once(
    remote: &Remote,
    dir: &Path,
    span: &KeySpan,
    place: impl Fn(u64, u64) -> u64,
) -> Result<u64, MigrateError> {
    let (header, count) = survey(remote, span).await?;
    let dir = Directory::create(dir)?;
    let mut pages = Pages::new(remote.clone(), span, header.revision);
    let mut progress = Progress::keys("saving", Some(count));
    let mut index = 0;
    loop {
        let next = pages.next().await.map_err(MigrateError::once_begun)?;
        let Some(Entry { key, value, .. }) = next else {
            break;
        };
        if index == count {
            let reason = format!(
                "it had {count} keys at revision {}, and more",
                header.revision
            );
            return Err(MigrateError::Differs(reason));
        }
        let number = place(index, count);
        debug!(number, key = %key.escape_ascii(), bytes = value.len(), "saving");
        // A page at a time; small files in the kernel's cache.
        dir.write(number, &key, &value)?;
        index += 1;
        progress.advance(1);
    }
    progress.finish();
    if index < count {
        let reason = format!(
            "of {count} keys at revision {}, {index} came",
            header.revision
        );
        return Err(MigrateError::Differs(reason));
    }
    dir.end_at(count)?;
    Ok(count)
}
