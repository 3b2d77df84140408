//! Writes zeros behind a write to the log, so that the next ones go where something has been written.
//!
//! The engine reserves 8 MiB for a segment and writes behind each other into it. In ext4 and xfs what is reserved and never written
//! is marked so, and a durable write into it has to change the mark, durably: the journal's write comes on top, and a
//! third of the time. Where small writes follow each other closely, somebody waits for each of them, so one of them takes zeros
//! along for those that follow. The zeros cost as many bytes as are saved in the journal. At rest nothing is done: an
//! update in between is not in a hurry, and would leave zeros that are never used.
//!
//! Invariant: what is written are zeros where the file has zeros, between the end of a write that is under way and the end of
//! the file as it is. The engine never writes there meanwhile, as it has one write under way, nor cuts the file.

use std::{
    ffi::{c_int, c_void},
    mem::MaybeUninit,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Room for 25 to 30 entries of one page.
const AHEAD_BYTES: u64 = 128 * 1024;

/// A larger write pays for the mark by itself.
const SMALL_MAX_BYTES: u64 = 16 * 1024;

/// The mean time between two writes below which somebody waits for them.
const GAP_MAX: Duration = Duration::from_millis(2);

/// Longer pauses count as this much, so that a burst after an hour is seen as soon as one after a second.
const GAP_COUNTED_MAX: Duration = Duration::from_millis(10);

/// The share of the newest gap in the mean.
const NEWEST_SHARE: u32 = 8;

const PAGE_BYTES: usize = 4096;

const BUFFERS_MAX: usize = 1 + AHEAD_BYTES as usize / PAGE_BYTES;

#[repr(align(4096))]
struct Page([u8; PAGE_BYTES]);

static ZEROS: Page = Page([0; PAGE_BYTES]);

static STATE: Mutex<State> = Mutex::new(State {
    segment: None,
    last: None,
    gap: GAP_COUNTED_MAX,
});

struct State {
    segment: Option<Segment>,
    last: Option<Instant>,
    /// The mean time from the end of a write to the begin of the next.
    gap: Duration,
}

/// The segment that is written, from its begin on: of another one nobody knows what it has.
struct Segment {
    file: c_int,
    inode: u64,
    /// The bytes from its begin that have been written, as zeros at least.
    written: u64,
    end: u64,
}

/// A write to the log, whole blocks.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub file: c_int,
    pub offset: u64,
    pub bytes: u64,
}

/// The buffers of a write with zeros behind it.
pub(super) struct Buffers {
    all: [libc::iovec; BUFFERS_MAX],
    count: usize,
}

impl Buffers {
    pub fn as_slice(&self) -> &[libc::iovec] {
        &self.all[..self.count]
    }

    fn new(first: libc::iovec, mut zeros: u64) -> Self {
        let page = libc::iovec {
            iov_base: ZEROS.0.as_ptr().cast::<c_void>().cast_mut(),
            iov_len: PAGE_BYTES,
        };
        let mut all = [page; BUFFERS_MAX];
        all[0] = first;
        let mut count = 1;
        while zeros > 0 && count < BUFFERS_MAX {
            let bytes = zeros.min(PAGE_BYTES as u64);
            all[count].iov_len = bytes as usize;
            zeros -= bytes;
            count += 1;
        }
        Self { all, count }
    }
}

/// Returns the buffers to write at `place` instead of `buffer`, where zeros are to follow.
pub(super) fn extend(place: Place, buffer: libc::iovec) -> Option<Buffers> {
    let zeros = with(|state| state.zeros_behind(place, Instant::now(), about))?;
    Some(Buffers::new(buffer, zeros))
}

/// `count` bytes were written from the begin of `place` on, zeros included.
pub(super) fn written(place: Place, count: u64) {
    with(|state| state.written(place, count, Instant::now()));
}

fn with<R>(change: impl FnOnce(&mut State) -> R) -> R {
    // Numbers that are right at any time.
    change(&mut STATE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Returns the inode and the size of a file.
fn about(file: c_int) -> Option<(u64, u64)> {
    let mut about = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the result has room for what the kernel writes; all zeros are a valid one.
    let (code, about) = unsafe { (libc::fstat(file, about.as_mut_ptr()), about.assume_init()) };
    let bytes = u64::try_from(about.st_size).ok().filter(|_| code == 0)?;
    Some((about.st_ino, bytes))
}

impl State {
    /// Returns how many zeros are to follow a write, if any.
    fn zeros_behind(
        &mut self,
        place: Place,
        now: Instant,
        about: impl Fn(c_int) -> Option<(u64, u64)>,
    ) -> Option<u64> {
        let gap = self.last.map_or(GAP_COUNTED_MAX, |last| {
            now.saturating_duration_since(last).min(GAP_COUNTED_MAX)
        });
        self.gap = self.gap - self.gap / NEWEST_SHARE + gap / NEWEST_SHARE;
        if place.offset == 0 {
            let about = about(place.file);
            // The first block is written again while it is not full.
            let known = self.segment.take_if(|segment| {
                about.is_some_and(|(inode, _)| (segment.file, segment.inode) == (place.file, inode))
            });
            self.segment = known.or_else(|| {
                about.map(|(inode, end)| Segment {
                    file: place.file,
                    inode,
                    written: 0,
                    end,
                })
            });
        }
        let segment = self.segment.as_ref().filter(|s| s.file == place.file)?;
        let from = place.offset + place.bytes;
        let is_wanted = self.gap <= GAP_MAX && place.bytes <= SMALL_MAX_BYTES;
        if !is_wanted || from <= segment.written {
            return None;
        }
        // Up to the end of a page, so that the next one begins with a whole one.
        let to = (from + AHEAD_BYTES) / PAGE_BYTES as u64 * PAGE_BYTES as u64;
        to.min(segment.end)
            .checked_sub(from)
            .filter(|zeros| *zeros > 0)
    }

    fn written(&mut self, place: Place, count: u64, now: Instant) {
        self.last = Some(now);
        if let Some(segment) = self.segment.as_mut().filter(|s| s.file == place.file) {
            segment.written = segment.written.max(place.offset + count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 8 << 20;

    /// Writes entries of these bytes, one after the other by blocks of 512, with a pause before each, and returns the zeros
    /// behind each.
    fn zeros(entries: &[u64], pause: Duration) -> Vec<u64> {
        let mut state = State {
            segment: None,
            last: None,
            gap: GAP_COUNTED_MAX,
        };
        let (mut now, mut next) = (Instant::now(), 0);
        let mut zeros = Vec::new();
        for entry in entries {
            now += pause;
            let offset = next / 512 * 512;
            next += entry;
            let place = Place {
                file: 5,
                offset,
                bytes: next.next_multiple_of(512) - offset,
            };
            let behind = state
                .zeros_behind(place, now, |_| Some((7, END)))
                .unwrap_or(0);
            assert!(place.offset + place.bytes + behind <= END);
            state.written(place, place.bytes + behind, now);
            zeros.push(behind);
        }
        zeros
    }

    #[test]
    fn close_small_writes_take_zeros_along_now_and_then() {
        let zeros = zeros(&[4200; 1000], Duration::from_micros(300));
        let first = zeros.iter().position(|zeros| *zeros > 0).unwrap();
        assert!(first < 30, "{first}");
        let with = zeros[first..].iter().filter(|zeros| **zeros > 0).count();
        assert!((30..=40).contains(&with), "{with}");
        // They end with a page, and reach over what was written.
        let total: u64 = zeros.iter().sum();
        assert!(total.abs_diff(1000 * 4200) < 300 * 1024, "{total}");
    }

    #[test]
    fn nothing_is_written_ahead_at_rest_nor_behind_large_writes() {
        assert!(
            zeros(&[4200; 100], Duration::from_millis(8))
                .iter()
                .all(|zeros| *zeros == 0)
        );
        assert!(
            zeros(&[40_000; 100], Duration::from_micros(300))
                .iter()
                .all(|zeros| *zeros == 0)
        );
    }

    #[test]
    fn the_end_of_the_file_is_the_end() {
        let zeros = zeros(&[4096; 2048], Duration::from_micros(300));
        assert_eq!(zeros.last(), Some(&0));
    }

    #[test]
    fn a_segment_that_was_not_seen_from_its_begin_is_left_alone() {
        let mut state = State {
            segment: None,
            last: None,
            gap: Duration::ZERO,
        };
        let place = |file, offset| Place {
            file,
            offset,
            bytes: 512,
        };
        let now = Instant::now();
        let mut zeros = |place| {
            let zeros = state.zeros_behind(place, now, |_| Some((7, END)));
            state.written(place, 512, now);
            zeros
        };
        assert_eq!(zeros(place(5, 512)), None);
        assert!(zeros(place(5, 0)).is_some());
        assert_eq!(zeros(place(6, 512)), None);
    }

    #[test]
    fn buffers_have_what_was_to_be_written_and_zeros() {
        let data = [7u8; 512];
        let first = libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        };
        for zeros in [512, 4096, 5120, AHEAD_BYTES] {
            let buffers = Buffers::new(first, zeros);
            let lens: Vec<_> = buffers
                .as_slice()
                .iter()
                .map(|b| b.iov_len as u64)
                .collect();
            assert_eq!(lens[0], 512);
            assert_eq!(lens[1..].iter().sum::<u64>(), zeros);
        }
    }
}
