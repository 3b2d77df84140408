//! Returns free pages of the database to the file system.
//!
//! SQLite's VACUUM writes the pages in use again, which is one Raft entry. Writes wait for it, 1 to
//! 2 s for 100 MB, so it is not done for little, nor for a database that is too large. Nothing
//! depends on it: free pages are reused without it. Measured in docs/decisions/0012-quota-and-defragment.md.

use etcd_state::requests::RequestError;
use stopping::warn;
use tracing::info;

use crate::store::{
    Pages,
    database::Database,
    reply::PreparedReply,
    writer::{Answer, Writer},
};

/// The most that may be in use, in bytes: writes then wait for up to 2 s, and the engine takes three
/// times as much memory more until its next snapshot. `api::status` says the same number.
const MAX_USED_BYTES: u64 = 128 * 1024 * 1024;

/// The share of free pages from which a VACUUM is worth it: one of this many.
const MIN_FREE_SHARE: u64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Vacuum,
    Nothing,
    TooLarge,
}

fn decide(pages: Pages) -> Decision {
    if pages.free * MIN_FREE_SHARE < pages.total || pages.free == 0 {
        Decision::Nothing
    } else if pages.used_bytes() > MAX_USED_BYTES {
        Decision::TooLarge
    } else {
        Decision::Vacuum
    }
}

impl Writer {
    /// Returns the answers that are due after a VACUUM, if one is to be done. Otherwise answers all
    /// here.
    pub(super) async fn begin_vacuum(&mut self, database: &mut Database) -> Option<Vec<Answer>> {
        if self.pending.wants_vacuum.is_empty() {
            return None;
        }
        let replies = std::mem::take(&mut self.pending.wants_vacuum);
        let result = match database.pages().await.map(decide_and_log) {
            Ok(Decision::Vacuum) => {
                self.admission.quota.outdate();
                let answer = |reply| Answer::Reply(PreparedReply::new(reply, Ok(())));
                return Some(replies.into_iter().map(answer).collect());
            }
            Ok(Decision::Nothing) => Ok(()),
            Ok(Decision::TooLarge) => Err(RequestError::TooLargeToDefragment),
            Err(error) => {
                warn!(%error, "cannot read the size of the database");
                Err(RequestError::TimedOut)
            }
        };
        for reply in replies {
            reply.send(result);
        }
        None
    }
}

fn decide_and_log(pages: Pages) -> Decision {
    let decision = decide(pages);
    info!(
        ?decision,
        total_bytes = pages.total_bytes(),
        used_bytes = pages.used_bytes(),
        "asked to defragment the database"
    );
    decision
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_worth_it_and_bounded_is_written_anew() {
        let decide = |total, free| decide(Pages { total, free });
        assert_eq!(decide(100, 0), Decision::Nothing);
        assert_eq!(decide(0, 0), Decision::Nothing);
        assert_eq!(decide(100, 4), Decision::Nothing);
        assert_eq!(decide(100, 5), Decision::Vacuum);
        assert_eq!(decide(70_000, 65_536), Decision::Vacuum);
        assert_eq!(decide(2 * 32_768, 32_768), Decision::Vacuum);
        assert_eq!(decide(2 * 32_768 + 1, 32_768), Decision::TooLarge);
    }
}
