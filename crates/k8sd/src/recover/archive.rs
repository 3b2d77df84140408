//! The recovered database for the other members, as microcluster packs it: the files of the database but
//! info.yaml, and recovery.yaml, which lists the members.
//!
//! An archive that is unpacked comes from another machine: plain files of bounded size are taken, nothing else.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Component, Path},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use tar::{EntryType, Header, HeaderMode};

use super::members::{Listed, Member};
use crate::{
    Error,
    copy::{MAX_BYTES, MAX_FILES, files, sync},
    state::PRIVATE,
};

const LIST: &str = "recovery.yaml";

/// Each node has its own.
const OWN_FILES: [&str; 4] = [
    "info.yaml",
    "failure-domain",
    "dqlite-lock",
    dqlite::node::mark::FILE_NAME,
];

/// Bytes of recovery.yaml.
const MAX_LIST_BYTES: u64 = 1 << 20;

pub fn write(dir: &Path, members: &[Member], to: &Path) -> Result<(), Error> {
    let listed: Vec<Listed> = members.iter().map(Member::listed).collect();
    let list = serde_yaml::to_string(&listed).map_err(|e| Error::Internal(e.to_string()))?;
    let temporary = to.with_extension("tmp");
    crate::state::remove_file(&temporary)?;
    pack(dir, list.as_bytes(), &temporary).map_err(Error::file(&temporary))?;
    std::fs::rename(&temporary, to).map_err(Error::file(to))?;
    sync(to.parent().unwrap_or(Path::new("/")))
}

fn pack(dir: &Path, list: &[u8], to: &Path) -> io::Result<()> {
    let file = new_file(to)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    archive.mode(HeaderMode::Deterministic);
    let (names, _) = files(dir).map_err(|error| io::Error::other(error.to_string()))?;
    for name in names {
        if name != LIST && !OWN_FILES.contains(&name.as_str()) {
            archive.append_file(&name, &mut File::open(dir.join(&name))?)?;
        }
    }
    let mut header = Header::new_ustar();
    header.set_size(list.len() as u64);
    header.set_mode(PRIVATE);
    archive.append_data(&mut header, LIST, list)?;
    archive.into_inner()?.finish()?.sync_all()
}

/// Unpacks into an empty directory, all but what each node has for itself; returns the members.
pub fn unpack(archive: &Path, dir: &Path) -> Result<Vec<Listed>, Error> {
    let damaged = |error: io::Error| Error::Damaged {
        path: archive.to_owned(),
        reason: error.to_string(),
    };
    let file = File::open(archive).map_err(Error::file(archive))?;
    let list = unpack_files(file, dir).map_err(damaged)?;
    let list = list.ok_or_else(|| damaged(io::Error::other(format!("has no {LIST}"))))?;
    sync(dir)?;
    serde_yaml::from_str(dqlite::files::without_mark(&list))
        .map_err(|error| damaged(io::Error::other(format!("{LIST}: {error}"))))
}

fn unpack_files(file: File, dir: &Path) -> io::Result<Option<String>> {
    let mut archive = tar::Archive::new(GzDecoder::new(file).take(2 * MAX_BYTES));
    let (mut list, mut count, mut bytes) = (None, 0, 0);
    // Raw: a long name would be read into memory, whatever its length.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        count += 1;
        bytes += entry.size();
        if count > MAX_FILES || bytes > MAX_BYTES {
            return Err(io::Error::other("is larger than a database can be"));
        }
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XHeader | EntryType::XGlobalHeader => continue,
            other => return Err(io::Error::other(format!("has an entry of kind {other:?}"))),
        }
        let name = plain_name(&entry.path()?)?;
        if name == LIST {
            let mut text = String::new();
            (&mut entry)
                .take(MAX_LIST_BYTES)
                .read_to_string(&mut text)?;
            list = Some(text);
        } else if !OWN_FILES.contains(&name.as_str()) {
            let mut file = new_file(&dir.join(name))?;
            io::copy(&mut entry, &mut file)?;
            file.flush()?;
            file.sync_all()?;
        }
    }
    Ok(list)
}

/// A file of the directory itself.
fn plain_name(path: &Path) -> io::Result<String> {
    let mut parts = path
        .components()
        .filter(|part| !matches!(part, Component::CurDir));
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => name
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other("has a name that is not text")),
        _ => Err(io::Error::other(format!(
            "has {}, which would be outside",
            path.display()
        ))),
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use dqlite::wire::NodeId;
    use proptest::prelude::*;

    use super::*;

    fn member(id: u64) -> Member {
        Member {
            id: NodeId::new(id),
            name: format!("node{id}"),
            address: format!("10.0.0.{id}:6400"),
        }
    }

    #[test]
    fn an_archive_has_the_database_and_the_members_and_nothing_of_one_nodes_own() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        for name in ["metadata1", "cluster.yaml", "info.yaml", "failure-domain"] {
            fs::write(from.join(name), name).unwrap();
        }
        let path = dir.path().join("a.tar.gz");
        write(&from, &[member(1), member(2)], &path).unwrap();
        let listed = unpack(&path, &to).unwrap();
        assert_eq!(listed[1], member(2).listed());
        let (names, _) = files(&to).unwrap();
        assert_eq!(names, ["cluster.yaml", "metadata1"]);
        assert_eq!(fs::read(to.join("metadata1")).unwrap(), b"metadata1");
    }

    #[test]
    fn what_leads_outside_or_is_no_file_is_refused() {
        let packed = |name: &str, kind: EntryType| {
            let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
            let mut header = Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(0);
            header.set_entry_type(kind);
            header.set_cksum();
            archive.append(&header, io::empty()).unwrap();
            archive.into_inner().unwrap().finish().unwrap()
        };
        for (name, kind, reason) in [
            ("../metadata1", EntryType::Regular, "outside"),
            ("/etc/x", EntryType::Regular, "outside"),
            ("a/b", EntryType::Regular, "outside"),
            ("link", EntryType::Symlink, "of kind"),
            ("fifo", EntryType::Fifo, "of kind"),
            ("metadata1", EntryType::Regular, "has no recovery.yaml"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.tar.gz");
            fs::write(&path, packed(name, kind)).unwrap();
            let to = dir.path().join("to");
            fs::create_dir(&to).unwrap();
            let error = unpack(&path, &to).unwrap_err().to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar.gz");
        fs::write(&path, b"no archive").unwrap();
        assert!(unpack(&path, dir.path()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn changed_bytes_write_nothing_outside(
            changes in proptest::collection::vec((0usize..4096, any::<u8>()), 1..8)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut plain = tar::Builder::new(Vec::new());
            for name in ["metadata1", LIST] {
                let mut header = Header::new_ustar();
                header.set_size(3);
                plain.append_data(&mut header, name, &b"[]\n"[..]).unwrap();
            }
            let mut bytes = plain.into_inner().unwrap();
            for (at, byte) in changes {
                let len = bytes.len();
                bytes[at % len] = byte;
            }
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&bytes).unwrap();
            let path = dir.path().join("a.tar.gz");
            fs::write(&path, packed.finish().unwrap()).unwrap();
            let to = dir.path().join("to");
            fs::create_dir(&to).unwrap();
            let unpacked = unpack(&path, &to);
            prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
            if let Ok(listed) = unpacked {
                prop_assert!(listed.is_empty());
            }
        }
    }
}
