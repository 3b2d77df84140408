//! The limit of open files: what connections may have of it.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Limits;

/// Files that the process needs for everything else: those of the engine, which ends the process when it cannot open one,
/// connections to other nodes, backups, certificates that are read again, standard streams.
const RESERVED_FILES: u64 = 120;

/// Fewer connections than these are of no use. With so few files the reserve gets smaller.
const MIN_FILES: u64 = 64;

/// The part that a listener has of the files for connections. The parts of all listeners of a process are one whole.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Of a hundred.
    pub percent: u64,
    /// The number of files that one connection takes.
    pub files_each: u64,
    /// The limits with as many files as anybody could want, which bound memory.
    pub most: Limits,
}

impl Share {
    /// Returns the limits of the listener, by the limit of open files of this process as it is now.
    pub fn limits(self) -> Limits {
        // Where it cannot be told, there is none that matters.
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        self.limits_of(files)
    }

    fn limits_of(self, files: u64) -> Limits {
        let for_connections = files.saturating_sub(RESERVED_FILES).max(MIN_FILES);
        let files = u128::from(for_connections) * u128::from(self.percent) / 100;
        let connections = files / u128::from(self.files_each);
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        let strangers = (connections / 4).clamp(1, self.most.strangers);
        let known = (connections - connections / 4).clamp(1, self.most.known);
        Limits { strangers, known }
    }
}

/// Raises the limit of open files to the hard limit, which is the operator's. The usual soft limit of 1024 is
/// there for programs that use `select`; the clients of a large cluster have more connections.
pub fn raise_open_files() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share = Share {
        percent: 50,
        files_each: 1,
        most: Limits {
            strangers: 256,
            known: 4096,
        },
    };

    #[test]
    fn the_limit_is_raised_once_and_for_all() {
        let files = raise_open_files().unwrap();
        assert!(files > 0);
        assert_eq!(raise_open_files().unwrap(), files);
    }

    #[test]
    fn connections_leave_the_reserve_alone() {
        assert_eq!(SHARE.limits_of(u64::MAX), SHARE.most);
        for files in [0, 64, 120, 200, 256, 1024, 4096, 65536] {
            let limits = SHARE.limits_of(files);
            assert!(limits.strangers >= 1 && limits.known >= 1);
            let all = (limits.strangers + limits.known) as u64;
            let allowed = files.saturating_sub(RESERVED_FILES).max(MIN_FILES) / 2;
            assert!(all <= allowed, "{files}: {limits:?}");
        }
        let dear = Share {
            files_each: 3,
            ..SHARE
        };
        assert_eq!(
            dear.limits_of(1020),
            Limits {
                strangers: 37,
                known: 113
            }
        );
    }
}
