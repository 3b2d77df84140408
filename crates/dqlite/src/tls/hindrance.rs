//! Finds what is in the way of another pair in a directory, before anything is changed.

use std::{
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use super::rotation::{CERTIFICATE, KEY};

/// The mounts of this process (proc_pid_mountinfo(5)).
const MOUNTS: &str = "/proc/self/mountinfo";

/// The place of the mount point in a line of it.
const MOUNT_POINT_FIELD: usize = 4;

/// Returns the reason why cluster.crt or cluster.key could not be replaced; none where nothing is known to be in the way.
pub fn hindrance(dir: &Path) -> Option<String> {
    let mounts = fs::read(MOUNTS).unwrap_or_default();
    [CERTIFICATE, KEY].iter().find_map(|name| {
        // A link stays one: the file that it names is replaced.
        let path = dir.join(name).canonicalize().ok()?;
        if is_mount_point(&mounts, &path) {
            return Some(format!(
                "{} is mounted by itself, so that nothing can be put in its place: mount the directory that it is in, or \
                 replace the pair by hand",
                path.display()
            ));
        }
        let parent = path.parent()?;
        let writable = access(parent, AccessFlags::W_OK);
        let error = writable.err()?;
        Some(format!(
            "{} cannot be written to: {}; {name} could not be replaced there",
            parent.display(),
            error.desc()
        ))
    })
}

fn is_mount_point(mounts: &[u8], path: &Path) -> bool {
    let lines = mounts.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(MOUNT_POINT_FIELD));
    points.map(unescaped).any(|point| point == path)
}

/// Spaces and the like are written as a backslash with three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_key_is_in_the_way() {
        let mounts = b"36 35 98:0 / / rw - ext4 /dev/root rw\n\
            40 36 98:0 /a/key /var/lib/k8s\\040dqlite/cluster.key rw,relatime - ext4 /dev/root rw\n";
        let key = Path::new("/var/lib/k8s dqlite/cluster.key");
        assert!(is_mount_point(mounts, key));
        assert!(!is_mount_point(mounts, key.parent().unwrap()));
        assert!(!is_mount_point(mounts, Path::new("/var/lib/k8s")));
    }

    #[test]
    fn nothing_is_in_the_way_in_a_usual_directory() {
        let dir = tempfile::tempdir().unwrap();
        for name in [CERTIFICATE, KEY] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(hindrance(dir.path()), None);
    }
}
