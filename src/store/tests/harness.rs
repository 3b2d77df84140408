//! A real node in a temporary directory, and a socket before it that can fail.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint},
    cluster_id::ClusterId,
    node::{BOOTSTRAP_ID, Dial, Node, NodeOptions},
};
use etcd_proto::etcdserverpb::{PutRequest, RangeRequest};
use etcd_state::mvcc::Commit;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::store::{
    Alone, Ended, Layout, QuotaBytes, Stop, Store, StoreOptions, WriterError, empty,
    register_change_table,
};

/// The fault that hits the next request on the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// The connection closes before the engine sees the request.
    LoseRequest = 1,
    /// The engine gets the request, the connection closes before its reply.
    LoseReply,
    /// The engine gets the request, the connection closes while it is at work.
    Leave,
    /// The engine gets half of the request.
    Tear,
}

/// The longest wait for a request that is to be kept back.
const HOLD_TIMEOUT: Duration = Duration::from_secs(60);

/// A request that the socket keeps back: as if much happened between it and the one before.
#[derive(Default)]
struct Hold {
    /// Requests up to that one, and it; 0 is none.
    requests: AtomicUsize,
    reached: Notify,
    released: Notify,
}

impl Hold {
    async fn pass(&self) {
        let count_down = |left: usize| left.checked_sub(1);
        let left = self
            .requests
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count_down);
        if left == Ok(1) {
            self.reached.notify_one();
            self.released.notified().await;
        }
    }
}

/// The layout of new databases: STORE_LAYOUT=batches overrides it.
pub fn layout() -> Layout {
    match std::env::var("STORE_LAYOUT").as_deref() {
        Ok("batches") => Layout::Batches,
        _ => Layout::NEW,
    }
}

pub struct Engine {
    node: Option<Node>,
    pub dir: tempfile::TempDir,
    fault: Arc<AtomicU8>,
    hold: Arc<Hold>,
}

impl Engine {
    pub fn start() -> Self {
        register_change_table();
        let dir = tempfile::tempdir().unwrap();
        let mut engine = Self {
            node: None,
            dir,
            fault: Arc::new(AtomicU8::new(0)),
            hold: Arc::default(),
        };
        engine.start_node();
        engine
    }

    fn start_node(&mut self) {
        let dial: Dial = Arc::new(|_: &str| Err(std::io::ErrorKind::Unsupported.into()));
        let mut options = NodeOptions::new(BOOTSTRAP_ID, "127.0.0.1:1", self.dir.path(), dial);
        options.bootstrap = true;
        options.network_latency = Some(Duration::from_millis(20));
        let mut node = Node::create(&options).unwrap();
        node.start().unwrap();
        self.node = Some(node);
    }

    /// Stops the engine and starts it on the same directory.
    pub fn restart(&mut self) {
        self.node = None;
        self.start_node();
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::from_address(self.node.as_ref().unwrap().bind_address())
    }

    pub fn inject(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    /// Returns whether the injected fault is still to come.
    pub fn has_fault(&self) -> bool {
        self.fault.load(Ordering::SeqCst) != 0
    }

    /// Keeps back one of the next requests on the socket, counted from 1.
    pub fn hold(&self, request: usize) {
        self.hold.requests.store(request, Ordering::SeqCst);
    }

    /// Runs something while a request is kept back, which is let through afterwards.
    pub async fn while_held<T>(&self, run: impl Future<Output = T>) -> T {
        let reached = timeout(HOLD_TIMEOUT, self.hold.reached.notified()).await;
        reached.expect("there are so many requests");
        let done = run.await;
        self.hold.released.notify_one();
        done
    }

    /// A socket that leads to the engine, and does what `inject` and `hold` say.
    pub fn faulty_endpoint(&self) -> Endpoint {
        let path: PathBuf = self.dir.path().join("faulty.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let name = self.node.as_ref().unwrap().bind_address().to_owned();
        let (fault, hold) = (self.fault.clone(), self.hold.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, name.clone(), fault.clone(), hold.clone()));
            }
        });
        Endpoint::Unix(path)
    }
}

async fn relay(mut client: UnixStream, name: String, fault: Arc<AtomicU8>, hold: Arc<Hold>) {
    use std::os::{linux::net::SocketAddrExt, unix::net};
    let address = net::SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
    let engine = net::UnixStream::connect_addr(&address).unwrap();
    engine.set_nonblocking(true).unwrap();
    let mut engine = UnixStream::from_std(engine).unwrap();
    let (mut up, mut down) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                hold.pass().await;
                match fault.swap(0, Ordering::SeqCst) {
                    f if f == Fault::LoseRequest as u8 => return,
                    f if f == Fault::LoseReply as u8 => {
                        engine.write_all(&up[..count]).await.unwrap();
                        // The reply proves that the engine was done.
                        let _ = engine.read(&mut down).await;
                        return;
                    }
                    f if f == Fault::Leave as u8 => {
                        engine.write_all(&up[..count]).await.unwrap();
                        return;
                    }
                    f if f == Fault::Tear as u8 => {
                        engine.write_all(&up[..count / 2]).await.unwrap();
                        return;
                    }
                    _ => engine.write_all(&up[..count]).await.unwrap(),
                }
            }
            read = engine.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

pub struct Running {
    pub store: Store,
    /// The commits that the observer was told of.
    pub observed: Arc<Mutex<Vec<Arc<Commit>>>>,
    /// The keys and values of each call to the observer, in bytes.
    pub batch_bytes: Arc<Mutex<Vec<usize>>>,
    stop: Option<oneshot::Sender<()>>,
    writer: Option<JoinHandle<Result<Ended, WriterError>>>,
}

impl Running {
    pub async fn open(endpoint: Endpoint) -> Self {
        Self::open_with(endpoint, layout()).await
    }

    /// `layout` is that of a new database.
    pub async fn open_with(endpoint: Endpoint, layout: Layout) -> Self {
        let options = StoreOptions {
            endpoint,
            is_disk_full: Box::new(|| false),
            cluster: Arc::new(Alone),
            member_id: BOOTSTRAP_ID.number(),
            quota: QuotaBytes(-1),
            limits: Default::default(),
            layout,
            cluster_id: ClusterId::fixed(0xc1),
        };
        let (store, mut replica) = empty(options);
        let leading = replica.become_leader().await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let observed = Arc::new(Mutex::new(Vec::new()));
        let batch_bytes = Arc::new(Mutex::new(Vec::new()));
        let (commits_seen, bytes_seen) = (observed.clone(), batch_bytes.clone());
        let observer = Box::new(move |commits: &[Arc<Commit>]| {
            let changes = commits.iter().flat_map(|commit| &commit.changes);
            let bytes = changes.map(|change| change.kv.key.len() + change.kv.value.len());
            bytes_seen.lock().unwrap().push(bytes.sum());
            commits_seen.lock().unwrap().extend_from_slice(commits);
        });
        replica.observe(observer);
        let run = async move {
            let stop = async {
                let _ = stopped.await;
                Stop::Close
            };
            replica.write(leading, stop).await
        };
        Self {
            store,
            observed,
            batch_bytes,
            stop: Some(stop),
            writer: Some(tokio::spawn(run)),
        }
    }

    /// Tells the writer to stop, without waiting for it.
    pub fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn stop(mut self) {
        self.ask_to_stop();
        self.writer.take().unwrap().await.unwrap().unwrap();
    }
}

/// A client of the engine beside the store.
pub async fn connect(engine: &Engine) -> Connection {
    let options = ConnectOptions::default();
    let mut connection = Connection::connect(&engine.endpoint(), options)
        .await
        .unwrap();
    connection.open("k8s").await.unwrap();
    connection
}

pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: value.as_bytes().to_vec().into(),
        ..Default::default()
    }
}

pub fn everything() -> RangeRequest {
    RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        ..Default::default()
    }
}

/// All live keys with their values, and the revision.
pub fn contents(store: &Store) -> (Vec<(String, String)>, i64) {
    let response = store.range(&everything()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let kvs = response
        .kvs
        .iter()
        .map(|kv| (text(&kv.key), text(&kv.value)))
        .collect();
    (kvs, response.header.unwrap().revision)
}
