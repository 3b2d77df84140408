//! Another program, run for what it prints.

use std::{
    io::{self, Read},
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::timeout;

/// Returns what a program prints, at most so many bytes. One that takes longer than `limit` is killed, and so nothing
/// waits for it any more.
pub async fn printed(
    command: &mut Command,
    max_bytes: u64,
    limit: Duration,
) -> io::Result<Vec<u8>> {
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take();
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let read = output.map(|output| output.take(max_bytes).read_to_end(&mut bytes));
        read.transpose().map(|_| bytes)
    });
    let read = timeout(limit, reading).await;
    // It has ended, or nobody waits for it; either way its end of the pipe closes, and the reader is done.
    let _ = child.kill();
    let _ = child.wait();
    match read {
        Ok(Ok(read)) => read,
        Ok(Err(_)) | Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "did not end")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn what_is_printed_is_bounded_in_bytes_and_time() {
        let long = Duration::from_secs(60);
        let said = printed(&mut shell("echo abc"), 2, long).await.unwrap();
        assert_eq!(said, b"ab");
        let missing = printed(&mut Command::new("no-such-program"), 1, long).await;
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
        let hanging = &mut shell("echo abc; exec sleep 1000");
        let ended = printed(hanging, 100, Duration::from_millis(50)).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Dropping the runtime waits for the reader: the test would not end.
    }
}
