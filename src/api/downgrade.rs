//! The answers to a downgrade request: etcd's, for a cluster whose data no older version can use.
//! Pure.

use etcd_proto::etcdserverpb::downgrade_request::DowngradeAction;

/// The version of the cluster that `etcdctl downgrade` reads.
pub const CLUSTER_VERSION: &str = "3.6";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DowngradeError {
    #[error("wrong downgrade target version format")]
    WrongFormat,
    /// Also the version before this one, which etcd would take.
    #[error("invalid downgrade target version")]
    InvalidTarget,
    #[error("unknown method")]
    UnknownMethod,
}

/// There is never a downgrade in progress, so a cancellation has nothing to do.
pub fn downgrade(action: i32, version: &str) -> Result<(), DowngradeError> {
    match DowngradeAction::try_from(action) {
        Ok(DowngradeAction::Cancel) => Ok(()),
        Ok(DowngradeAction::Validate | DowngradeAction::Enable) => Err(if is_version(version) {
            DowngradeError::InvalidTarget
        } else {
            DowngradeError::WrongFormat
        }),
        Err(_) => Err(DowngradeError::UnknownMethod),
    }
}

/// Major and minor, and perhaps a patch with what semantic versions have behind it.
fn is_version(version: &str) -> bool {
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = numbers.split('.').collect();
    let is_number = |part: &&str| part.parse::<u64>().is_ok() && !part.starts_with('+');
    let has_suffix = numbers.len() < version.len();
    (parts.len() == 3 || parts.len() == 2 && !has_suffix) && parts.iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_two_parts_or_three() {
        for version in ["3.5", "3.5.0", "3.5.9-rc.0", "10.11.12"] {
            assert!(is_version(version), "{version}");
        }
        for version in ["", "3", "v3.5", "3.x", "3.5.0.0", "3.-5", "3.5-rc.0"] {
            assert!(!is_version(version), "{version}");
        }
    }
}
