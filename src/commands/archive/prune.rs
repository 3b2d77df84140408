//! Shows what may go, or removes it.

use archive::{
    ObjectName,
    inspection::{self, InspectionError},
    retention::{self, Policy},
};

use super::{ArchiveCommandError, Opened, show};
use crate::args::PruneArgs;

pub(super) async fn run(wanted: &PruneArgs, now_s: i64) -> Result<String, ArchiveCommandError> {
    let opened = Opened::open(&wanted.place)?;
    let found = inspection::contents(&opened.objects).await;
    let found = found.map_err(|error| opened.failed(error))?;
    let policy = Policy {
        age: wanted.age(),
        bases: wanted.keep_bases,
    };
    let here_ms = u64::try_from(now_s).unwrap_or(0).saturating_mul(1000);
    let clocks = found.clocks(here_ms);
    let removal = retention::plan(&found.listing, &found.announcements, &policy, clocks);
    if !wanted.yes {
        return Ok(show::removal(&removal, "may go; --yes removes them"));
    }
    // In this order, so that an interruption leaves all that is kept.
    let deltas = removal.deltas.iter().copied().map(ObjectName::Delta);
    let bases = removal.bases.iter().copied().map(ObjectName::Base);
    for name in deltas.chain(bases) {
        let removed = opened.objects.remove(name).await;
        removed.map_err(|error| opened.failed(InspectionError::Object(error)))?;
    }
    Ok(show::removal(&removal, "were removed"))
}
