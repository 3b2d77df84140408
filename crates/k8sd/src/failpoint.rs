//! Faults that tests cause in a daemon through its environment. A release build has none of them.

use std::time::Duration;

/// The process ends here, as if it were killed, if `K8SD_FAIL_AT` names this point.
pub fn fail_at(point: &str) {
    if cfg!(debug_assertions) && std::env::var("K8SD_FAIL_AT").is_ok_and(|named| named == point) {
        tracing::warn!(point, "killed by a test");
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}

/// A time, or that many milliseconds of the variable of this name.
pub fn duration_from_env(variable: &str, usual: Duration) -> Duration {
    let text = match cfg!(debug_assertions) {
        true => std::env::var(variable).ok(),
        false => None,
    };
    let ms = text.and_then(|text| text.parse().ok());
    ms.map_or(usual, Duration::from_millis)
}
