//! A service manager of the tests: it listens, and asks for signs of life.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::Command,
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::harness::until;

#[cfg(target_arch = "x86_64")]
const EPOLL_WAIT: libc::c_long = libc::SYS_epoll_wait;
/// Other architectures have one of the two.
#[cfg(not(target_arch = "x86_64"))]
const EPOLL_WAIT: libc::c_long = libc::SYS_epoll_pwait;

/// A socket as systemd's, and all that was said to it.
pub struct Manager {
    told: Arc<Mutex<Vec<String>>>,
    // Sockets have short names: not in the build directory.
    dir: tempfile::TempDir,
}

impl Manager {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let told = Arc::<Mutex<Vec<String>>>::default();
        let heard = told.clone();
        // Ends with the process of the tests.
        thread::spawn(move || {
            let mut bytes = vec![0; 4096];
            while let Ok(length) = socket.recv(&mut bytes) {
                let lines = String::from_utf8(bytes[..length].to_vec()).unwrap();
                heard
                    .lock()
                    .unwrap()
                    .extend(lines.lines().map(str::to_owned));
            }
        });
        Self { told, dir }
    }

    /// Has the command's process tell this manager; `watchdog`: the timeout of its watchdog.
    pub fn watch(&self, command: &mut Command, watchdog: Option<Duration>) {
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        if let Some(timeout) = watchdog {
            command.env("WATCHDOG_USEC", timeout.as_micros().to_string());
        }
    }

    /// All assignments, in order.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.told.lock().unwrap().clear();
    }

    /// Waits until an assignment contains the text.
    pub async fn wait_for(&self, text: &str) {
        until(&format!("it tells {text:?}"), async || {
            self.told().iter().any(|line| line.contains(text))
        })
        .await;
    }

    /// Waits until there was no such assignment for a while.
    pub async fn is_silent_for(&self, time: Duration, text: &str) {
        let mut since = tokio::time::Instant::now();
        until(&format!("there is no {text} for {time:?}"), async || {
            let told = std::mem::take(&mut *self.told.lock().unwrap());
            if told.iter().any(|line| line == text) {
                since = tokio::time::Instant::now();
            }
            since.elapsed() > time
        })
        .await;
    }
}

/// Returns the number of the file.
fn newest_epoll(process: u32) -> u32 {
    let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let is_epoll = |file: &fs::DirEntry| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        target.to_str() == Some("anon_inode:[eventpoll]")
    };
    let numbers = files.filter_map(|file| {
        let file = file.ok().filter(is_epoll)?;
        file.file_name().to_str()?.parse().ok()
    });
    numbers.max().unwrap()
}

/// Returns the thread that waits in the kernel for this file.
fn waiting_at(process: u32, file: u32) -> Option<i32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.flatten().find_map(|thread| {
        let call = fs::read_to_string(thread.path().join("syscall")).ok()?;
        let mut words = call.split_whitespace();
        let number = words.next()?.parse::<libc::c_long>().ok()?;
        let is_wait = [libc::SYS_epoll_pwait, EPOLL_WAIT].contains(&number);
        let is_there = words.next()? == format!("{file:#x}");
        let thread = thread.file_name().to_str()?.parse().ok()?;
        (is_wait && is_there).then_some(thread)
    })
}

/// A thread that runs no further, until this is dropped.
pub struct Frozen {
    thaw: Option<mpsc::Sender<()>>,
    tracer: Option<JoinHandle<()>>,
}

impl Frozen {
    /// Freezes the loop of libdqlite: the thread that waits at the epoll which was made last. That of tokio was made before.
    pub async fn engine_of(process: u32) -> Self {
        let mut thread = None;
        until("the engine's loop waits", async || {
            thread = waiting_at(process, newest_epoll(process));
            thread.is_some()
        })
        .await;
        Self::freeze(thread.unwrap())
    }

    /// The thread is traced by one of ours: when that ends, the kernel lets it go.
    fn freeze(thread: i32) -> Self {
        let (thaw, thawed) = mpsc::channel::<()>();
        let (froze, frozen) = mpsc::channel();
        let tracer = thread::spawn(move || {
            // SAFETY: both calls take no memory of ours; the thread belongs to a child of this process.
            let done = unsafe {
                let none = std::ptr::null_mut::<libc::c_void>();
                libc::ptrace(libc::PTRACE_SEIZE, thread, none, none) == 0
                    && libc::ptrace(libc::PTRACE_INTERRUPT, thread, none, none) == 0
            };
            froze.send(done).unwrap();
            let _ = thawed.recv();
        });
        assert!(frozen.recv().unwrap(), "the thread cannot be traced");
        Self {
            thaw: Some(thaw),
            tracer: Some(tracer),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.thaw.take();
        let _ = self.tracer.take().map(JoinHandle::join);
    }
}
