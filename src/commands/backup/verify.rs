//! Reads all of a backup, and says what is in it.

use std::fmt;

use crate::{
    args::VerifyArgs,
    backup::{Scratch, Time, Trailer},
    commands::restore::{self, RestoreError, Summary},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub summary: Summary,
    /// The time and the trailer of a backup; none of a bare snapshot.
    pub backup: Option<(u64, Trailer)>,
}

/// Reads the file as a restore would, and compares it with what the server said of it.
pub fn verify(args: &VerifyArgs) -> Result<Verified, RestoreError> {
    let scratch = Scratch::beside(&args.file, args.scratch_dir.as_deref());
    let (summary, backup) = restore::read_all(&args.file, &scratch)?;
    Ok(Verified { summary, backup })
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary)?;
        let Some((created_s, trailer)) = &self.backup else {
            return write!(f, "; a snapshot as etcdctl saves it");
        };
        let time = Time::from_unix(*created_s);
        write!(f, "; made {time}")?;
        let info = &trailer.info;
        if !info.node_id.is_unknown() {
            let (node, cluster) = (info.node_id, info.cluster_id);
            write!(f, " by node {node:x} of cluster {cluster:x}")?;
        }
        let is_compared = info
            .hash
            .is_some_and(|known| known.compact_revision == self.summary.compact_revision);
        match is_compared {
            true => write!(f, "; the hash is the one of that server"),
            false => write!(f, "; that server's hash is not known"),
        }
    }
}
