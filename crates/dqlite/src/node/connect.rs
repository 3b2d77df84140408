//! The function through which the engine connects to other nodes, on top of an ordinary Rust
//! closure.
//!
//! libdqlite calls it on the threads that also write the log, repeats it every second for a peer
//! that is down, and waits for it when it stops. So every call ends within [`DIAL_TIMEOUT`],
//! whatever the closure does, and no panic crosses into C.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    io,
    os::fd::{AsFd, IntoRawFd, OwnedFd},
    panic::catch_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Give a connected stream socket (TCP with NODELAY, or unix) to the node at an address. Called
/// from several threads at once.
pub type Dial = Arc<dyn Fn(&str) -> io::Result<OwnedFd> + Send + Sync>;

/// A dial that takes longer has failed. The engine repeats it after 1 s, and a handshake across a
/// slow link takes well below a second.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Dials in progress, given-up ones included, beyond which new ones fail at once: two for each of
/// 16 peers. It bounds the threads that a closure which never returns can pile up.
const DIALS_MAX: usize = 32;

/// Failure, as the engine counts it; it does not look at the value.
const FAILED: c_int = 1;

pub(super) struct Connector {
    dial: Dial,
    dials: Arc<AtomicUsize>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(dial: Dial) -> Self {
        Self {
            dial,
            dials: Arc::default(),
            timeout: DIAL_TIMEOUT,
        }
    }

    /// Returns the argument that the engine passes to [`connect`]. Valid as long as `self` stays
    /// where it is.
    pub(super) fn as_arg(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    fn connect(&self, address: &str) -> io::Result<OwnedFd> {
        let place = Place::take(&self.dials).ok_or_else(|| {
            io::Error::other(format!(
                "{DIALS_MAX} connection attempts are already in progress"
            ))
        })?;
        let (dial, peer) = (self.dial.clone(), address.to_owned());
        let (done, result) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("dqlite-dial".to_owned())
            .spawn(move || {
                let _place = place;
                // Nobody listens after the timeout: the socket is closed here then.
                let _ = done.send(dial(&peer));
            })?;
        let socket = result
            .recv_timeout(self.timeout)
            .map_err(|error| match error {
                mpsc::RecvTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
                mpsc::RecvTimeoutError::Disconnected => io::Error::other("the dial panicked"),
            })??;
        set_blocking(&socket)?;
        Ok(socket)
    }
}

/// The engine's first two writes expect to be taken whole; it switches to non-blocking by itself
/// later.
fn set_blocking(socket: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(socket.as_fd(), FcntlArg::F_GETFL)?);
    if flags.contains(OFlag::O_NONBLOCK) {
        fcntl(socket.as_fd(), FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    }
    Ok(())
}

/// One of the [`DIALS_MAX`] dials.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(dials: &Arc<AtomicUsize>) -> Option<Self> {
        dials
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < DIALS_MAX).then_some(n + 1)
            })
            .is_ok()
            .then(|| Self(dials.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The function for `dqlite_node_set_connect_func`.
///
/// # Safety
///
/// `arg` comes from [`Connector::as_arg`] of a connector that is alive, `address` is a
/// NUL-terminated string, `fd` may be written to.
pub(super) unsafe extern "C" fn connect(
    arg: *mut c_void,
    address: *const c_char,
    fd: *mut c_int,
) -> c_int {
    let dialled = catch_unwind(|| {
        // SAFETY: the caller promises both; the connector is only read.
        let (connector, address) = unsafe { (&*arg.cast::<Connector>(), CStr::from_ptr(address)) };
        let address = address.to_string_lossy();
        connector.connect(&address).inspect_err(|error| {
            tracing::debug!(%address, %error, "cannot connect to a node");
        })
    });
    match dialled {
        Ok(Ok(socket)) => {
            // SAFETY: the caller promises it.
            unsafe { *fd = socket.into_raw_fd() };
            0
        }
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::{
            fd::FromRawFd,
            unix::net::{UnixListener, UnixStream},
        },
        sync::{Barrier, Mutex},
    };

    use super::*;

    fn call(connector: &Connector) -> Option<OwnedFd> {
        let mut fd = -1;
        // SAFETY: the connector is alive, the address a literal, `fd` a local variable.
        match unsafe { connect(connector.as_arg(), c"10.0.0.1:9000".as_ptr(), &mut fd) } {
            // SAFETY: the function gave the descriptor away.
            0 => Some(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => None,
        }
    }

    #[test]
    fn a_socket_is_handed_over_in_blocking_mode() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let theirs = Mutex::new(Some(theirs));
        let connector = Connector::new(Arc::new(move |address| {
            assert_eq!(address, "10.0.0.1:9000");
            Ok(theirs.lock().unwrap().take().unwrap().into())
        }));
        let socket = call(&connector).unwrap();
        let flags = OFlag::from_bits_retain(fcntl(socket.as_fd(), FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK));
        drop(ours);
    }

    #[test]
    fn a_failed_dial_and_a_panic_are_failures() {
        let refused = Connector::new(Arc::new(|_| Err(io::ErrorKind::ConnectionRefused.into())));
        assert!(call(&refused).is_none());
        let panics = Connector::new(Arc::new(|_| panic!("on purpose")));
        assert!(call(&panics).is_none());
        assert_eq!(panics.dials.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_dial_that_hangs_fails_in_time_and_its_late_socket_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let gate = Arc::new(Barrier::new(2));
        let dial_gate = gate.clone();
        let mut connector = Connector::new(Arc::new(move |_| {
            dial_gate.wait();
            Ok(UnixStream::connect(&path)?.into())
        }));
        connector.timeout = Duration::from_millis(20);
        assert!(call(&connector).is_none());
        assert_eq!(connector.dials.load(Ordering::Relaxed), 1);
        gate.wait();
        let (mut late, _) = listener.accept().unwrap();
        late.set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(
            io::Read::read(&mut late, &mut [0]).unwrap(),
            0,
            "the late socket is open"
        );
    }

    #[test]
    fn dials_that_never_end_do_not_pile_up() {
        let connector = Connector {
            dial: Arc::new(|_| {
                thread::park();
                unreachable!("nobody unparks")
            }),
            dials: Arc::new(AtomicUsize::new(DIALS_MAX)),
            timeout: DIAL_TIMEOUT,
        };
        assert!(call(&connector).is_none());
    }
}
