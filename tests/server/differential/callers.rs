//! The callers that send the requests: the token of each, and the calls that depend on it.
//!
//! Tokens differ between servers, so only that there is one is compared. A user "keeper" has the
//! role root while authentication is on, so that the test can look and end it.

use etcd_proto::authpb::UserAddOptions;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::*;
use etcd_proto::v3electionpb::LeaderRequest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::answer::Answer;
use super::side::Side;
use crate::harness::*;

/// Users by their names, [`NOBODY`], a token that never was one, and the keeper.
pub const CALLERS: usize = 6;
pub const USERS: [&str; 3] = ["root", "u", "r"];
pub const NOBODY: usize = 3;
const LIAR: usize = 4;
const KEEPER: usize = 5;
/// The number of callers that a sequence may choose from.
pub const CHOICES: usize = 5;

const KEEPER_NAME: &str = "keeper";

fn keepers_request() -> AuthenticateRequest {
    AuthenticateRequest {
        name: KEEPER_NAME.to_owned(),
        password: KEEPER_NAME.to_owned(),
    }
}

impl Side {
    fn api_of(&self, caller: usize) -> Api {
        match &self.tokens[caller] {
            _ if caller == LIAR => self.api.with_token("no.1"),
            Some(token) => self.api.with_token(token),
            None => self.api.clone(),
        }
    }

    pub fn callers_api(&self) -> Api {
        self.api_of(self.caller)
    }

    /// Returns the connection of the keeper, who may do everything.
    pub fn keepers_api(&self) -> Api {
        match self.is_auth_on {
            true => self.api_of(KEEPER),
            false => self.api.clone(),
        }
    }

    pub async fn authenticate(&mut self, request: AuthenticateRequest) -> Answer {
        let user = USERS.iter().position(|name| *name == request.name);
        let answer = self.callers_api().try_ask(request).await;
        if let (Ok(answer), Some(user)) = (&answer, user) {
            self.tokens[user] = Some(answer.token.clone());
        }
        Answer::new(answer, self.member_id)
    }

    pub async fn enable_auth(&mut self) -> Answer {
        if !self.waiting.is_empty() {
            return Answer::note("not while somebody waits");
        }
        let api = self.callers_api();
        if !self.is_auth_on {
            let keeper = AuthUserAddRequest {
                name: KEEPER_NAME.to_owned(),
                password: KEEPER_NAME.to_owned(),
                options: Some(UserAddOptions { no_password: false }),
                ..Default::default()
            };
            // From the last time it may be there.
            let _ = self.api.try_ask(keeper).await;
            let role = AuthUserGrantRoleRequest {
                user: KEEPER_NAME.to_owned(),
                role: "root".to_owned(),
            };
            self.api.ask(role).await;
        }
        let answer = api.try_ask(AuthEnableRequest {}).await;
        if answer.is_ok() && !self.is_auth_on {
            self.is_auth_on = true;
            let token = self.api.ask(keepers_request()).await.token;
            self.tokens[KEEPER] = Some(token);
        }
        Answer::new(answer, self.member_id)
    }

    pub async fn end_auth(&mut self) {
        if self.is_auth_on {
            self.keepers_api().ask(AuthDisableRequest {}).await;
            self.is_auth_on = false;
        }
        self.caller = NOBODY;
        self.tokens = Default::default();
    }

    /// Returns the first response of a new watch stream: whether the caller may watch.
    pub async fn watch_once(&self, request: WatchRequest) -> Answer {
        let Some(RequestUnion::CreateRequest(_)) = request.request_union else {
            return Answer::note("");
        };
        let api = self.callers_api();
        let (requests, queue) = mpsc::channel(1);
        requests.try_send(request).expect("it is empty");
        let first = async {
            let queue = api.request(ReceiverStream::new(queue));
            let mut responses = api.watch.clone().watch(queue).await?.into_inner();
            responses.message().await
        };
        match tokio::time::timeout(TIMEOUT, first).await {
            Ok(Ok(Some(mut response))) => {
                super::answer::mask_header(&mut response.header);
                Answer::note(&format!("{response:?}"))
            }
            Ok(Ok(None)) => Answer::note("end"),
            Ok(Err(status)) => Answer::refusal(&status),
            Err(_) => Answer::note("nothing in time"),
        }
    }

    /// The first that an observer hears, if there is a leader; or its refusal.
    pub async fn observe(&self, request: LeaderRequest) -> Answer {
        let leaders = self.line(&request.name).await;
        if leaders.is_some_and(|leaders| leaders.is_empty()) && !self.is_auth_on {
            return Answer::note("nobody leads");
        }
        let api = self.callers_api();
        let first = async {
            let request = api.request(request);
            let mut leaders = api.election.clone().observe(request).await?.into_inner();
            leaders.message().await
        };
        match tokio::time::timeout(super::waiting::SILENCE, first).await {
            Ok(Ok(Some(leader))) => Answer::new(Ok(leader), self.member_id),
            Ok(Ok(None)) => Answer::note("end"),
            Ok(Err(status)) => Answer::refusal(&status),
            Err(_) => Answer::note("nothing"),
        }
    }

    /// Compared is only that it comes to its end: the files differ.
    pub async fn snapshot(&self, request: SnapshotRequest) -> Answer {
        let api = self.callers_api();
        let read = async {
            let request = api.request(request);
            let mut parts = api
                .maintenance
                .clone()
                .snapshot(request)
                .await?
                .into_inner();
            while parts.message().await?.is_some() {}
            Ok(())
        };
        match tokio::time::timeout(TIMEOUT, read).await {
            Ok(Ok(())) => Answer::note("a snapshot"),
            Ok(Err(status)) => Answer::refusal(&status),
            Err(_) => Answer::note("no end in time"),
        }
    }
}
