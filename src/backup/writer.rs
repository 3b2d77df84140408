//! A backup while it is written.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use openssl::sha::Sha256;

use super::format::{Head, SnapshotInfo, Trailer};

/// The length of the checksum at the end of the snapshot.
const CHECKSUM_BYTES: usize = 32;

/// Takes the stream of a snapshot, checksum included.
pub struct BackupWriter<W: Write> {
    encoder: GzEncoder<Digesting<W>>,
    check: StreamCheck,
    snapshot_bytes: u64,
}

impl<W: Write> BackupWriter<W> {
    pub fn begin(out: W, head: Head) -> io::Result<Self> {
        let mut out = Digesting {
            out,
            hash: Sha256::new(),
            bytes: 0,
        };
        out.write_all(&head.encode())?;
        // A snapshot comes as fast as a server makes it; stronger compression is slower than that.
        let encoder = GzBuilder::new().write(out, Compression::fast());
        Ok(Self {
            encoder,
            check: StreamCheck::default(),
            snapshot_bytes: 0,
        })
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.encoder.write_all(bytes)?;
        self.check.update(bytes);
        self.snapshot_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Ends the file. Returns none if the snapshot does not match its checksum.
    pub fn finish(self, info: SnapshotInfo) -> io::Result<Option<(W, Trailer)>> {
        if !self.check.fits() {
            return Ok(None);
        }
        let Digesting {
            mut out,
            hash,
            bytes,
        } = self.encoder.finish()?;
        let trailer = Trailer::seal(info, bytes, self.snapshot_bytes, hash);
        out.write_all(&trailer.encode())?;
        Ok(Some((out, trailer)))
    }
}

/// A writer that hashes and counts the bytes that pass through it.
struct Digesting<W> {
    out: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A check that a stream ends with the SHA-256 of the bytes before.
#[derive(Default)]
struct StreamCheck {
    hash: Sha256,
    /// The last bytes, which may be the checksum.
    held_back: Vec<u8>,
}

impl StreamCheck {
    fn update(&mut self, bytes: &[u8]) {
        self.held_back.extend_from_slice(bytes);
        let known = self.held_back.len().saturating_sub(CHECKSUM_BYTES);
        self.hash.update(&self.held_back[..known]);
        self.held_back.drain(..known);
    }

    fn fits(self) -> bool {
        self.hash.finish()[..] == self.held_back[..]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;
    use openssl::sha::sha256;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_unpacks_to_the_snapshot_however_it_came(
            content: Vec<u8>, cuts in proptest::collection::vec(1..40_usize, 1..9)
        ) {
            let mut snapshot = content.clone();
            snapshot.extend_from_slice(&sha256(&content));
            let mut writer = BackupWriter::begin(Vec::new(), Head { created_s: 1 }).unwrap();
            let mut rest = &snapshot[..];
            for cut in cuts.into_iter().cycle() {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                writer.write(piece).unwrap();
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let (file, trailer) = writer.finish(SnapshotInfo::default()).unwrap().unwrap();
            prop_assert_eq!(trailer.snapshot_bytes, snapshot.len() as u64);
            let mut unpacked = Vec::new();
            MultiGzDecoder::new(&file[..]).read_to_end(&mut unpacked).unwrap();
            prop_assert_eq!(unpacked, snapshot);
        }
    }

    #[test]
    fn a_stream_without_its_checksum_is_refused() {
        for bytes in [
            &[][..],
            &[0; 32],
            b"something longer than a checksum is, which is 32 bytes",
        ] {
            let mut writer = BackupWriter::begin(Vec::new(), Head { created_s: 1 }).unwrap();
            writer.write(bytes).unwrap();
            assert!(writer.finish(SnapshotInfo::default()).unwrap().is_none());
        }
    }
}
