//! The texts of a bundle: each is bounded, and one that cannot be had says why.

use std::{
    fmt::Write,
    fs::{self, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    process::Command,
    time::Duration,
};

use dqlite::{node, tls::Pair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::super::program;
use crate::{address::ListenSocket, args::Args, config};

/// The units of the packages and of the snap.
pub const UNITS: [&str; 2] = ["k8s-dqlite.service", "snap.k8s-dqlite.k8s-dqlite.service"];

/// Lines of the journal.
const MAX_LINES: &str = "20000";

/// Journal and metrics come within this time, or not at all.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of the metrics: they are some 100 KiB.
const MAX_METRICS_BYTES: u64 = 8 * 1024 * 1024;

/// Files of a directory that are listed.
const MAX_LISTED: usize = 4096;

/// Files in which the kernel tells about this machine.
const MACHINE: [&str; 4] = [
    "/proc/version",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/self/limits",
];

pub fn versions() -> String {
    let versions = node::versions();
    format!(
        "k8s-dqlite {}\ndqlite {}\nsqlite {}\nlibuv {}\n",
        env!("CARGO_PKG_VERSION"),
        versions.dqlite,
        versions.sqlite.unwrap_or_else(|| "in dqlite".to_owned()),
        versions.uv.unwrap_or_else(|| "in dqlite".to_owned())
    )
}

pub fn machine() -> String {
    let mut text = String::new();
    for path in MACHINE {
        let found = fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
        let _ = writeln!(text, "{path}:\n{}\n", found.trim_end());
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let _ = writeln!(text, "cores: {cores}");
    text
}

/// Returns the flags of the server, as far as this program was given them. Those of this sub-command have passwords.
pub fn flags(args: &Args) -> String {
    let server = Args {
        command: None,
        ..args.clone()
    };
    format!("{server:#?}\n")
}

pub fn listing(dir: &Path) -> String {
    let mut lines = Vec::new();
    match fs::read_dir(dir) {
        Err(error) => return format!("cannot read {}: {error}\n", dir.display()),
        Ok(entries) => {
            for entry in entries.flatten().take(MAX_LISTED) {
                let Ok(file) = entry.metadata() else { continue };
                lines.push(format!(
                    "{} mode {:o} user {} {} bytes changed {}",
                    entry.file_name().to_string_lossy(),
                    file.mode() & 0o7777,
                    file.uid(),
                    file.len(),
                    file.mtime()
                ));
            }
        }
    }
    lines.sort();
    lines.join("\n") + "\n"
}

/// Returns the last bytes of a file of the storage directory, as text. A link is not followed: with the rights of whoever runs
/// this, it may lead anywhere.
pub fn tail_of_own(path: &Path, max_bytes: usize) -> io::Result<String> {
    tail_with(path, libc::O_NOFOLLOW, max_bytes)
}

/// Returns the last bytes of a file that the caller has named, as text.
pub fn tail(path: &Path, max_bytes: usize) -> io::Result<String> {
    tail_with(path, 0, max_bytes)
}

fn tail_with(path: &Path, flags: libc::c_int, max_bytes: usize) -> io::Result<String> {
    let mut options = OpenOptions::new();
    // A pipe without a writer would be waited for.
    options.read(true).custom_flags(flags | libc::O_NONBLOCK);
    let mut file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let length = metadata.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max_bytes as u64)))?;
    let mut bytes = Vec::new();
    file.take(max_bytes as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns what the certificates say: they are shown to everybody. Their keys are only compared with them.
pub fn certificates(args: &Args) -> Vec<(String, String)> {
    let dir = &args.storage_dir;
    let flags = &args.client_tls;
    let nodes = (dir.join(config::CERTIFICATE), dir.join(config::KEY));
    let clients = (
        flags.cert_file.as_str().into(),
        flags.key_file.as_str().into(),
    );
    let mut texts = Vec::new();
    for (name, (certificate, key), is_used) in [
        ("nodes", nodes, args.enable_tls),
        ("clients", clients, args.listen.has_tls()),
    ] {
        if !is_used {
            continue;
        }
        let text = match Pair::load(&certificate, &key) {
            Err(error) => format!("{error}\n"),
            Ok(pair) => {
                let texts = pair.all().iter().map(|it| it.to_text().unwrap_or_default());
                let texts = texts.map(|text| String::from_utf8_lossy(&text).into_owned());
                texts.collect()
            }
        };
        texts.push((format!("certificates/{name}.txt"), text));
    }
    texts
}

/// Returns the metrics of the server, asked where it serves them without TLS.
pub async fn metrics(args: &Args) -> String {
    let own = args.metrics.then_some(&args.metrics_listen);
    let plain = args.listen.0.iter().filter(|address| !address.is_tls);
    let mut text = "no address without TLS is known to ask for metrics: give the server's flags before the word doctor\n".to_owned();
    for address in own.into_iter().chain(plain) {
        let ListenSocket::Tcp { host, port } = &address.socket else {
            continue;
        };
        match timeout(SOURCE_TIMEOUT, ask(host, *port)).await {
            Ok(Ok(metrics)) => return metrics,
            Ok(Err(error)) => text = format!("{address}: {error}\n"),
            Err(_) => text = format!("{address} did not answer\n"),
        }
    }
    text
}

/// HTTP/1.0: the answer ends with the connection.
async fn ask(host: &str, port: u16) -> io::Result<String> {
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let mut stream = TcpStream::connect((host, port)).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(MAX_METRICS_BYTES)
        .read_to_end(&mut answer)
        .await?;
    let text = String::from_utf8_lossy(&answer);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
    body.map(str::to_owned)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Returns the end of the server's journal, if there is one.
pub async fn journal(max_bytes: usize) -> String {
    let mut command = Command::new("journalctl");
    command.args([
        "--quiet",
        "--no-pager",
        "--output=short-iso-precise",
        "--lines",
        MAX_LINES,
    ]);
    for unit in UNITS {
        command.args(["--unit", unit]);
    }
    match program::printed(&mut command, max_bytes as u64, SOURCE_TIMEOUT).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("journalctl: {error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| dir.path().join(name));
        fs::write(&file, "0123456789").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(tail_of_own(&file, 4).unwrap(), "6789");
        assert!(tail_of_own(&link, 4).is_err());
        assert_eq!(tail(&link, 4).unwrap(), "6789");
        assert!(tail(&pipe, 4).is_err());
    }
}
