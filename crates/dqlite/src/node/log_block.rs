//! The unit in which the engine writes its log.
//!
//! The engine probes the directory with writes of 4 KiB and takes that (dqlite: src/raft/uv_fs.c, `probeDirectIO`). Each write to
//! the log begins with the block in which the last one ended, and fills its last block with zeros: 4 KiB of blocks make 8 KiB of
//! an entry with one page. With a sector of 512 bytes it is a little more than the entry.

use std::{
    fs::{self, File, OpenOptions},
    mem::MaybeUninit,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

/// The least that the engine takes.
const SECTOR_BYTES: u32 = 512;

/// Returns the size of a sector, if files in this directory can be written by sectors past the kernel's cache, and that is no
/// slower. `None` also where the kernel does not say (Linux before 6.1, and some file systems).
pub fn sector_bytes(dir: &Path) -> Option<usize> {
    let by_sectors = 1..=SECTOR_BYTES;
    let file = nameless(dir)?;
    let (memory, offset) = alignment(&file)?;
    let can = by_sectors.contains(&memory) && by_sectors.contains(&offset);
    (can && !reads_before_it_writes(&file)).then_some(SECTOR_BYTES as usize)
}

/// Returns whether the file is on a spinning disk that only pretends to have such sectors: for a part of one of its own it waits for
/// another turn. Disks of virtual machines say that they spin, and do not.
fn reads_before_it_writes(file: &File) -> bool {
    let Ok(about) = file.metadata() else {
        return false;
    };
    let (major, minor) = (libc::major(about.dev()), libc::minor(about.dev()));
    // A link to the disk, or to a partition, which lies in its disk.
    let Ok(device) = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else {
        return false;
    };
    let disk = match device.join("partition").exists() {
        true => device.parent().unwrap_or(&device),
        false => &device,
    };
    let is_virtual = disk
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"vd"));
    let number = |name: &str| -> Option<u32> {
        let text = fs::read_to_string(disk.join("queue").join(name)).ok()?;
        text.trim().parse().ok()
    };
    !is_virtual
        && number("rotational") == Some(1)
        && number("physical_block_size").is_some_and(|bytes| bytes > SECTOR_BYTES)
}

/// A file without a name: only regular files tell.
fn nameless(dir: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options.custom_flags(libc::O_TMPFILE).open(dir).ok()
}

/// Returns what the addresses of buffers, and the offsets and lengths of writes, have to be multiples of.
fn alignment(file: &File) -> Option<(u32, u32)> {
    let mut about = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is empty and ends with a zero; the result has room for what the kernel writes.
    let code = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            about.as_mut_ptr(),
        )
    };
    // SAFETY: a structure of numbers, all zeros at least.
    let about = unsafe { about.assume_init() };
    let is_told = code == 0 && about.stx_mask & libc::STATX_DIOALIGN != 0;
    is_told.then_some((about.stx_dio_mem_align, about.stx_dio_offset_align))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_has_no_sectors() {
        assert_eq!(sector_bytes(Path::new("/nonexistent")), None);
    }

    #[test]
    fn memory_is_no_disk() {
        assert_eq!(sector_bytes(Path::new("/dev/shm")), None);
    }

    /// The kernel's word holds: a write of one sector to the middle of a block succeeds.
    #[test]
    fn a_sector_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let Some(bytes) = sector_bytes(dir.path()) else {
            eprintln!("{} cannot be written by sectors", dir.path().display());
            return;
        };
        #[repr(align(512))]
        struct Sector([u8; 512]);
        let sector = Box::new(Sector([7; 512]));
        let path = dir.path().join("file");
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .custom_flags(libc::O_DIRECT | libc::O_DSYNC);
        let file = options.open(&path).unwrap();
        file.set_len(4096).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &sector.0[..bytes], 1024).unwrap();
        let content = std::fs::read(&path).unwrap();
        let (before, written, after) = (&content[..1024], &content[1024..1536], &content[1536..]);
        assert_eq!(written, [7; 512]);
        assert!(before.iter().chain(after).all(|byte| *byte == 0));
    }
}
