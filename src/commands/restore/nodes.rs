//! Checks that no node of the cluster that the snapshot is of still runs. They would go on with their history beside the
//! restored one, under the same addresses and for the same clients.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dqlite::{cluster::listening, files::read_cluster};

use super::RestoreError;

/// Directories beside the new one that are looked at: operators keep one or two old ones.
const MAX_BESIDE: usize = 1000;

/// Fails if something listens at one of the addresses in `members`, which are the snapshot's, at `own`, or at one
/// that the files of the former directory name.
pub async fn refuse_running(
    dir: &Path,
    own: &str,
    members: Vec<String>,
) -> Result<(), RestoreError> {
    let mut asked = members;
    asked.push(own.to_owned());
    asked.extend(former_directories(dir).iter().flat_map(|dir| known(dir)));
    let running = listening(asked).await;
    match running.is_empty() {
        true => Ok(()),
        false => Err(RestoreError::StillRun(running)),
    }
}

/// The directory itself, in which an interrupted restore may have been, and what it may have been moved to: those
/// beside it with its name and an ending, such as `.old`.
fn former_directories(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return found;
    };
    let name = name.to_string_lossy();
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let is_former = |other: &str| {
        let ending = other.strip_prefix(&*name);
        ending.is_some_and(|ending| ending.starts_with(|c: char| !c.is_alphanumeric()))
    };
    // Where it cannot be read, there is the snapshot's list.
    let beside = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in beside.take(MAX_BESIDE) {
        if is_former(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    found
}

/// A file that is damaged, or not there, names nobody.
fn known(dir: &Path) -> Vec<String> {
    let servers = read_cluster(dir).ok().flatten().unwrap_or_default();
    servers.into_iter().map(|server| server.address).collect()
}

#[cfg(test)]
mod tests {
    use dqlite::{
        files::write_cluster,
        wire::{NodeId, Role, Server},
    };
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_directory_that_was_moved_says_who_else_there_was() {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dir = root.path().join("data");
        for (name, is_former) in [("data2", false), ("other", false), ("data.old", true)] {
            let beside = root.path().join(name);
            fs::create_dir(&beside).unwrap();
            let server = Server {
                id: NodeId::new(1),
                address: address.clone(),
                role: Role::Voter,
            };
            write_cluster(&beside, &[server]).unwrap();
            let refused = refuse_running(&dir, "127.0.0.1:1", Vec::new()).await;
            assert_eq!(refused.is_err(), is_former, "{name}");
        }
        drop(listener);
        let found = refuse_running(&dir, "127.0.0.1:1", vec![address]).await;
        assert!(found.is_ok(), "{found:?}");
    }

    #[tokio::test]
    async fn who_listens_at_the_new_address_or_at_that_of_a_member_runs() {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let member = vec![address.clone()];
        for (own, members) in [("127.0.0.1:1", member), (&*address, Vec::new())] {
            let refused = refuse_running(&root.path().join("data"), own, members).await;
            let said = refused.unwrap_err().to_string();
            assert!(said.contains(&address), "{said}");
        }
    }
}
