//! Repeats what may have another outcome.

use std::time::Duration;

use tokio::time::sleep;

use super::ObjectError;

/// Attempts of one call. Whoever needs it longer begins anew, later.
const MAX_ATTEMPTS: u32 = 4;

/// The pause after the first attempt; each further one is four times as long: 4 s in all.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

pub async fn attempt<T, F: Future<Output = Result<T, ObjectError>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, ObjectError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..MAX_ATTEMPTS {
        match request().await {
            Err(error) if error.may_pass() => sleep(pause).await,
            result => return result,
        }
        pause *= 4;
    }
    request().await
}
