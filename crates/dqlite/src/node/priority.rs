//! The priority of the process among others that want the processors.

use std::io;

use tracing::{debug, info};

/// The nice value of a server: about ten times the share of the processors that a program without one gets. The engine has to
/// answer within 300 ms, through four threads of two processes, or the nodes hold an election.
const NICE: i32 = -10;

/// The outcome of raising the priority.
#[derive(Debug, PartialEq, Eq)]
enum Priority {
    Raised(i32),
    /// Somebody has set it.
    Kept(i32),
}

/// Raises the priority of this thread, and of all threads that it starts from now on, unless the operator has set one or does
/// not allow it. Call it before a runtime and the engine start theirs.
pub fn raise_priority() {
    match raise() {
        Ok(Priority::Raised(nice)) => debug!(nice, "the priority of the process is raised"),
        Ok(Priority::Kept(nice)) => debug!(nice, "the priority of the process was set"),
        Err(error) => info!(
            %error,
            "the priority of the process cannot be raised: nodes on a busy machine may hold elections. Allow it \
             (`LimitNICE=-10` in the unit, or the capability SYS_NICE), or set `network-latency: 50ms` in tuning.yaml"
        ),
    }
}

/// # Errors
///
/// `PermissionDenied` without the capability SYS_NICE, or a limit that allows it.
fn raise() -> io::Result<Priority> {
    // SAFETY: takes numbers only. The call cannot fail for the thread itself, so -1 is a value.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if nice != 0 {
        return Ok(Priority::Kept(nice));
    }
    // SAFETY: takes numbers only.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        let error = io::Error::last_os_error();
        // Either of two codes stands for it.
        return Err(match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => io::ErrorKind::PermissionDenied.into(),
            _ => error,
        });
    }
    Ok(Priority::Raised(NICE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_raised_once_and_one_that_was_set_is_kept() {
        // A thread has a priority of its own.
        std::thread::spawn(|| match raise() {
            Ok(Priority::Raised(nice)) => {
                assert_eq!(nice, NICE);
                assert_eq!(raise().unwrap(), Priority::Kept(NICE));
            }
            Ok(Priority::Kept(nice)) => assert_ne!(nice, 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        })
        .join()
        .unwrap();
    }
}
