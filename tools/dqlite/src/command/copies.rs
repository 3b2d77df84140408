//! Copies of a database.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dqlite::client::Connection;
use dqlite::wire::File as Dumped;
use rusqlite::OpenFlags;

use super::{cluster::node, unpack::unpack};
use crate::error::ShellError;
use crate::shell::Shell;

/// The original's, where the command line names none.
const DEFAULT_DATABASE: &str = "db.bin";

/// Writes the files of one node's copy to the working directory, as the original does.
pub async fn dump(
    shell: &mut Shell,
    address: &str,
    database: Option<&str>,
) -> Result<(), ShellError> {
    let own = shell.session.database.clone();
    let database = database.or(own.as_deref()).unwrap_or(DEFAULT_DATABASE);
    let mut connection = node(shell, address).await?;
    for file in fetch(&mut connection, database).await? {
        write(Path::new(name(&file)?), &file.data, true)?;
    }
    shell.output.line("OK")
}

/// The leader's copy, which has every write that was answered, as one file that SQLite opens.
pub async fn backup(shell: &mut Shell, path: &str) -> Result<(), ShellError> {
    let path = PathBuf::from(path);
    let Some(database) = shell.session.database.clone() else {
        return Err(ShellError::usage(
            "a backup needs a database: name it before the command",
        ));
    };
    if path.exists() {
        shell.confirm_overwrite(&path)?;
    }
    let mut leader = shell.session.leader().await?;
    let files = fetch(&mut leader, &database).await?;
    let part = beside(&path, ".part");
    let made = assemble(&part, &files).and_then(|()| {
        fs::rename(&part, &path).map_err(|error| ShellError::file("write", &path, &error))
    });
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(&part, suffix));
    }
    made?;
    shell.output.line("OK")
}

async fn fetch(connection: &mut Connection, database: &str) -> Result<Vec<Dumped>, ShellError> {
    let dumped = connection.dump(database).await;
    dumped.map_err(|error| {
        ShellError::from(error).within(|text| format!("dump of {database} failed: {text}"))
    })
}

/// Writes the files of a dump as one database, and verifies it.
fn assemble(path: &Path, files: &[Dumped]) -> Result<(), ShellError> {
    for file in files {
        let is_log = file.name.ends_with("-wal");
        if !is_log {
            write(path, &file.data, true)?;
        } else if !file.data.is_empty() {
            // Older servers: SQLite folds the log into the database when it is opened.
            write(&beside(path, "-wal"), &file.data, true)?;
        }
    }
    finish(path).map_err(|error| ShellError::failed(format!("the copy is damaged: {error}")))?;
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| ShellError::file("write", path, &error))
}

/// Verifies a copy, and leaves one file that SQLite reads by itself.
fn finish(path: &Path) -> Result<(), String> {
    let text = |error: rusqlite::Error| error.to_string();
    let mut database =
        rusqlite::Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .map_err(text)?;
    // Leaves one file, which can also be opened where nothing may be written.
    let mode: String = database
        .query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))
        .map_err(text)?;
    let found: String = database
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(text)?;
    match (found.as_str(), mode.as_str()) {
        ("ok", "delete") => unpack(&mut database),
        ("ok", mode) => Err(format!("its journal mode could not be changed from {mode}")),
        (found, _) => Err(found.to_owned()),
    }
}

/// The name of a file from the server, which must not lead elsewhere.
fn name(file: &Dumped) -> Result<&str, ShellError> {
    let name = file.name.as_str();
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(ShellError::failed(format!(
            "the server sent a file named {name:?}"
        )));
    }
    Ok(name)
}

fn write(path: &Path, data: &[u8], overwrite: bool) -> Result<(), ShellError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(overwrite)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(data))
        .map_err(|error| ShellError::file("write", path, &error))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn dumped(name: &str, data: Vec<u8>) -> Dumped {
        Dumped {
            name: name.to_owned(),
            data: Bytes::from(data),
        }
    }

    #[test]
    fn a_copy_is_verified_and_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        let database = rusqlite::Connection::open(&source).unwrap();
        database
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1);",
            )
            .unwrap();
        let files = [
            dumped("k8s", fs::read(&source).unwrap()),
            dumped("k8s-wal", fs::read(beside(&source, "-wal")).unwrap()),
        ];
        let copy = dir.path().join("copy");
        assemble(&copy, &files).unwrap();
        assert!(!beside(&copy, "-wal").exists());
        let copy =
            rusqlite::Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let value: i64 = copy
            .query_row("SELECT a FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(value, 1);
    }

    #[test]
    fn a_damaged_copy_and_a_wicked_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = assemble(&dir.path().join("x"), &[dumped("k8s", vec![7; 8192])]).unwrap_err();
        assert!(error.to_string().contains("the copy is damaged"), "{error}");
        assert!(name(&dumped("../k8s", Vec::new())).is_err());
        assert!(name(&dumped("k8s", Vec::new())).is_ok());
    }
}
