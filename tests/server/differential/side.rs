//! One of the two servers, its connection, and the watch streams on it.

use std::collections::BTreeMap;

use etcd_proto::etcdserverpb::*;
use tokio_stream::StreamExt;
use tonic::Status;

use super::answer::Answer;
use super::callers::{CALLERS, NOBODY};
use super::operation::{Operation, Revisions};
use super::streams::Stream;
use super::waiting::Waiting;
use crate::harness::*;

/// A lease with less might end during the sequence, and not at the same moment on both servers, so
/// it is revoked at once.
const SAFE_TTL_S: i64 = 1000;

pub struct Side {
    pub server: Server,
    pub api: Api,
    pub streams: BTreeMap<usize, Stream>,
    pub waiting: Vec<Waiting>,
    pub is_auth_on: bool,
    pub caller: usize,
    pub tokens: [Option<String>; CALLERS],
    pub member_id: u64,
}

impl Side {
    pub async fn start(kind: Kind) -> Self {
        // Passwords that cost nothing: what they cost is not what is compared.
        let mut options = Options::flags(&["--bcrypt-cost=4"]);
        if kind == Kind::K8sDqlite {
            // As rarely as etcd: within a sequence it would come at any moment.
            options = Options::flags(&["--bcrypt-cost=4", "--watch-progress-notify-interval=10m"]);
        }
        let server = Server::start_with(kind, options).await;
        let api = server.api().await;
        let member_id = api.ask(get("a")).await.header.unwrap().member_id;
        Self {
            server,
            api,
            streams: BTreeMap::new(),
            waiting: Vec::new(),
            is_auth_on: false,
            caller: NOBODY,
            tokens: Default::default(),
            member_id,
        }
    }

    /// Sends the request and waits for what answers it; events of watchers may come later.
    pub async fn run(&mut self, operation: &Operation, revisions: &Revisions) -> Answer {
        let own = self.member_id;
        let api = self.callers_api();
        match operation.resolved(revisions, own) {
            Operation::Range(it) => Answer::new(api.try_ask(it).await, own),
            // etcd has streams since 3.7; the chunks make up what Range answers.
            Operation::RangeStream(it) if self.server.kind() == Kind::Etcd => {
                Answer::new(api.try_ask(it).await, own)
            }
            Operation::RangeStream(it) => Answer::new(self.range_stream(it).await, own),
            Operation::Put(it) => Answer::new(api.try_ask(it).await, own),
            Operation::DeleteRange(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Txn(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Compact(it) => Answer::new(api.try_ask(it).await, own),
            Operation::LeaseGrant(it) => Answer::new(self.grant(it).await, own),
            Operation::LeaseRevoke(it) => Answer::new(api.try_ask(it).await, own),
            Operation::LeaseTimeToLive(it) => {
                let mut answer = api.try_ask(it).await;
                if let Ok(lease) = &mut answer {
                    lease.keys.sort();
                }
                Answer::new(answer, own)
            }
            Operation::LeaseLeases(it) => {
                let mut answer = api.try_ask(it).await;
                if let Ok(leases) = &mut answer {
                    leases.leases.sort_by_key(|lease| lease.id);
                }
                Answer::new(answer, own)
            }
            Operation::LeaseKeepAlive(it) => Answer::new(self.keep_alive(it).await, own),
            Operation::HashKv(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Alarm(it) if it.alarm != 0 && !self.waiting.is_empty() => {
                Answer::note("not while somebody waits")
            }
            Operation::Alarm(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Status(it) => Answer::new(api.try_ask(it).await, own),
            Operation::MemberList(it) => Answer::new(api.try_ask(it).await, own),
            Operation::AuthStatus(it) => Answer::new(api.try_ask(it).await, own),
            Operation::UserAdd(it) => Answer::new(api.try_ask(it).await, own),
            Operation::UserGet(it) => Answer::new(api.try_ask(it).await, own),
            Operation::UserList(it) => Answer::new(api.try_ask(it).await, own),
            Operation::UserDelete(it) => Answer::new(api.try_ask(it).await, own),
            Operation::UserChangePassword(it) => Answer::new(api.try_ask(it).await, own),
            Operation::UserGrantRole(it) => Answer::new(api.try_ask(it).await, own),
            Operation::UserRevokeRole(it) => Answer::new(api.try_ask(it).await, own),
            Operation::RoleAdd(it) => Answer::new(api.try_ask(it).await, own),
            Operation::RoleGet(it) => Answer::new(api.try_ask(it).await, own),
            Operation::RoleList(it) => Answer::new(api.try_ask(it).await, own),
            Operation::RoleDelete(it) => Answer::new(api.try_ask(it).await, own),
            Operation::RoleGrantPermission(it) => Answer::new(api.try_ask(it).await, own),
            Operation::RoleRevokePermission(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Defragment(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Hash(it) => Answer::new(api.try_ask(it).await, own),
            Operation::MemberAdd(it) => Answer::new(api.try_ask(it).await, own),
            Operation::MemberRemove(it) => Answer::new(api.try_ask(it).await, own),
            Operation::MemberUpdate(it) => Answer::new(api.try_ask(it).await, own),
            Operation::MemberPromote(it) => Answer::new(api.try_ask(it).await, own),
            Operation::MoveLeader(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Downgrade(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Unlock(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Proclaim(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Leader(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Resign(it) => Answer::new(api.try_ask(it).await, own),
            Operation::Snapshot(it) => self.snapshot(it).await,
            Operation::Lock(it) => {
                let (name, lease) = (it.name.clone(), it.lease);
                let call = async move { Answer::new(api.try_ask(it).await, own) };
                self.stand_in_line(&name, lease, call).await
            }
            Operation::Campaign(it) => {
                let (name, lease) = (it.name.clone(), it.lease);
                let call = async move { Answer::new(api.try_ask(it).await, own) };
                self.stand_in_line(&name, lease, call).await
            }
            Operation::Observe(it) => self.observe(it).await,
            Operation::AuthEnable(_) => self.enable_auth().await,
            Operation::AuthDisable(it) => {
                let answer = Answer::new(api.try_ask(it).await, own);
                self.is_auth_on &= answer.is_refusal;
                answer
            }
            Operation::Authenticate(it) => self.authenticate(it).await,
            Operation::Become { caller } => {
                self.caller = caller;
                Answer::note("")
            }
            Operation::Watch { request, .. } if self.is_auth_on => self.watch_once(request).await,
            Operation::Watch { stream, request } => {
                if !self.streams.contains_key(&stream) {
                    let opened = Stream::open(&self.api).await;
                    self.streams.insert(stream, opened);
                }
                let stream = self.streams.get_mut(&stream).expect("just opened");
                stream.ask(request.request_union, revisions).await;
                Answer::note("")
            }
        }
    }

    /// The chunks put together, as if it had been a Range.
    async fn range_stream(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        let api = self.callers_api();
        let mut client = api.kv.clone();
        let read = async {
            let mut chunks = client
                .range_stream(api.request(request))
                .await?
                .into_inner();
            let mut kvs = Vec::new();
            let mut last = RangeResponse::default();
            while let Some(chunk) = chunks.message().await? {
                last = chunk.range_response.expect("a chunk has a response");
                kvs.append(&mut last.kvs);
            }
            last.kvs = kvs;
            Ok(last)
        };
        let read = tokio::time::timeout(TIMEOUT, read).await;
        read.expect("the stream ends in time")
    }

    async fn grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Status> {
        let is_id_chosen = request.id != 0;
        let mut answer = self.callers_api().try_ask(request).await?;
        if answer.ttl < SAFE_TTL_S || !is_id_chosen {
            self.keepers_api().ask(revoke(answer.id)).await;
        }
        if !is_id_chosen {
            assert!(answer.id > 0, "an id that etcd would not choose");
            answer.id = 0;
        }
        Ok(answer)
    }

    async fn keep_alive(
        &self,
        request: LeaseKeepAliveRequest,
    ) -> Result<LeaseKeepAliveResponse, Status> {
        let api = self.callers_api();
        let mut client = api.lease.clone();
        let exchange = async {
            let requests = tokio_stream::once(request);
            let mut answers = client
                .lease_keep_alive(api.request(requests))
                .await?
                .into_inner();
            answers.next().await.expect("a request has an answer")
        };
        let exchange = tokio::time::timeout(TIMEOUT, exchange).await;
        exchange.expect("an answer in time")
    }

    /// Waits until everything up to `revision` has come to all watchers that want it.
    pub async fn settle(&self, revision: i64) {
        for stream in self.streams.values() {
            stream.settle(revision).await;
        }
    }
}
