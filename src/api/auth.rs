//! The Auth service.

use std::{net::IpAddr, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use etcd_proto::{authpb::Permission, authpb::permission::Type, etcdserverpb::*};
use etcd_state::{
    auth::{self, AuthError, Caller, Change, ROOT, Rules},
    requests::RequestError,
    settings::{Settings, Space},
};
use rand::RngCore;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status};

use super::{
    Identity, Peer,
    access::{Access, unix_seconds},
    status::{status, too_many_requests},
    turns::Turns,
};
use crate::store::Store;

/// Bytes of the key that signs tokens: as many as its hash function gives.
const SECRET_BYTES: usize = 32;

/// Checks of the password of one sign-in, if it changes meanwhile. etcd has no such limit.
const MAX_CHECKS: usize = 3;

/// The address of a caller, and the user that it is about.
type TurnOf = (Option<IpAddr>, String);

fn turn_of<T>(request: &Request<T>, user: &str) -> TurnOf {
    let peer = request.extensions().get::<Peer>();
    let address = peer.and_then(|peer| peer.address.ip());
    (address, user.to_owned())
}

pub struct AuthService {
    store: Store,
    identity: Arc<Identity>,
    access: Arc<Access>,
    bcrypt_cost: u32,
    /// One password is hashed at a time: that keeps a core busy for some 50 ms, and the others
    /// must go on serving. Turns go by address and user.
    hashing: Turns<TurnOf>,
}

impl AuthService {
    pub fn new(
        store: Store,
        identity: Arc<Identity>,
        access: Arc<Access>,
        bcrypt_cost: u32,
    ) -> Self {
        Self {
            store,
            identity,
            access,
            bcrypt_cost,
            hashing: Turns::default(),
        }
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(self.identity.header(self.store.revision()))
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Option<Caller>, Status> {
        self.access.caller(request).map_err(refuse)
    }

    fn check_admin<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match self.caller(request)? {
            Some(caller) => caller.check_admin().map_err(refuse),
            None => Ok(()),
        }
    }

    /// Makes a change, which only an administrator may.
    async fn change<T>(
        &self,
        request: Request<T>,
        change: impl FnOnce(T) -> Change,
    ) -> Result<Option<ResponseHeader>, Status> {
        let store = self.access.gate(&self.store);
        self.check_admin(&request)?;
        let change = change(request.into_inner());
        let changed = store.change_auth(change).await.map_err(status)?;
        Ok(Some(self.identity.header(changed.revision)))
    }

    async fn hash(&self, turn_of: TurnOf, password: String) -> Result<String, Status> {
        let cost = self.bcrypt_cost;
        let hash = self
            .slowly(turn_of, move || auth::hash_password(&password, cost))
            .await?
            .map_err(refuse)?;
        Ok(BASE64_STANDARD.encode(hash))
    }

    /// Returns rules that are at least as new as what was committed before the call.
    async fn current_rules(&self) -> Result<Arc<Rules>, Status> {
        self.store.linearize().await.map_err(status)?;
        Ok(self.store.rules().load_full())
    }

    /// Returns the rules for a new token.
    async fn rules_to_sign_in(&self) -> Result<Arc<Rules>, Status> {
        let rules = self.current_rules().await?;
        if !rules.is_enabled || rules.has_secret() {
            return Ok(rules);
        }
        let secret = new_secret();
        let change = Change::SetSecret { secret };
        self.store.change_auth(change).await.map_err(status)?;
        self.current_rules().await
    }

    /// Returns rules by which the password is that of the user, and which are newer than the check: that
    /// waits for its turn, and the password may change meanwhile.
    async fn check_password(
        &self,
        turn_of: TurnOf,
        name: &str,
        password: String,
    ) -> Result<Arc<Rules>, Status> {
        let password: Arc<str> = password.into();
        let mut rules = self.rules_to_sign_in().await?;
        for _ in 0..MAX_CHECKS {
            let hash = rules.password_of(name).map_err(refuse)?;
            let (given, expected) = (password.clone(), hash.clone());
            let work = move || auth::is_password(&given, &expected);
            if !self.slowly(turn_of.clone(), work).await? {
                return Err(refuse(AuthError::Failed));
            }
            rules = self.current_rules().await?;
            if rules.password_of(name).map_err(refuse)? == hash {
                return Ok(rules);
            }
        }
        Err(refuse(AuthError::OldRevision))
    }

    /// Runs `work` on a thread of its own when it is the caller's turn.
    async fn slowly<T: Send + 'static>(
        &self,
        turn_of: TurnOf,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let turn = self.hashing.next(turn_of).await;
        let turn = turn.map_err(|_| too_many_requests())?;
        let working = spawn_blocking(move || {
            // Also when the caller has left meanwhile.
            let _turn = turn;
            work()
        });
        Ok(working.await.expect("hashing does not panic"))
    }

    /// Returns the roles of a user. Fails if the caller is neither that user nor an administrator.
    fn roles_of(&self, request: &Request<AuthUserGetRequest>) -> Result<Vec<String>, Status> {
        let name = &request.get_ref().name;
        if let Some(caller) = self.caller(request)?
            && let Err(error) = caller.check_admin()
            && !caller.is(name)
        {
            return Err(refuse(error));
        }
        let user = auth::find_user(&self.store.settings(), name);
        Ok(user.ok_or(AuthError::UserNotFound).map_err(refuse)?.roles)
    }

    fn permissions_of(
        &self,
        request: &Request<AuthRoleGetRequest>,
    ) -> Result<Vec<Permission>, Status> {
        let name = &request.get_ref().role;
        if let Some(caller) = self.caller(request)?
            && let Err(error) = caller.check_admin()
            && !caller.has_role(name)
        {
            return Err(refuse(error));
        }
        let role = auth::find_role(&self.store.settings(), name)
            .ok_or(AuthError::RoleNotFound)
            .map_err(refuse)?;
        if name == ROOT {
            return Ok(vec![everything()]);
        }
        Ok(role.key_permission)
    }

    fn names<T>(&self, request: &Request<T>, space: Space) -> Result<Vec<String>, Status> {
        self.check_admin(request)?;
        let settings: Arc<Settings> = self.store.settings();
        Ok(auth::names(&settings, space))
    }
}

fn refuse(error: AuthError) -> Status {
    status(RequestError::Auth(error))
}

/// Returns the permission that etcd shows for the role root.
fn everything() -> Permission {
    Permission {
        perm_type: Type::Readwrite.into(),
        key: Bytes::new(),
        range_end: Bytes::from_static(&[0]),
    }
}

fn new_secret() -> Bytes {
    let mut secret = vec![0; SECRET_BYTES];
    rand::rng().fill_bytes(&mut secret);
    secret.into()
}

#[tonic::async_trait]
impl auth_server::Auth for AuthService {
    async fn auth_enable(
        &self,
        request: Request<AuthEnableRequest>,
    ) -> Result<Response<AuthEnableResponse>, Status> {
        let secret = new_secret();
        let header = self.change(request, |_| Change::Enable { secret }).await?;
        Ok(Response::new(AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<AuthDisableRequest>,
    ) -> Result<Response<AuthDisableResponse>, Status> {
        let header = self.change(request, |_| Change::Disable).await?;
        Ok(Response::new(AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        // Everybody's since etcd 3.7, but for who comes with a token that is not good.
        self.caller(&request)?;
        Ok(Response::new(AuthStatusResponse {
            header: self.header(),
            enabled: self.access.is_enabled(),
            auth_revision: auth::revision(&self.store.settings()),
        }))
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let turn_of = turn_of(&request, &request.get_ref().name);
        let AuthenticateRequest { name, password } = request.into_inner();
        let rules = self.check_password(turn_of, &name, password).await?;
        let token = self
            .access
            .tokens
            .issue(&rules, &name, unix_seconds())
            .map_err(refuse)?;
        let header = self.header();
        Ok(Response::new(AuthenticateResponse { header, token }))
    }

    async fn user_add(
        &self,
        mut request: Request<AuthUserAddRequest>,
    ) -> Result<Response<AuthUserAddResponse>, Status> {
        self.check_admin(&request)?;
        let turn_of = turn_of(&request, &request.get_ref().name);
        let user = request.get_mut();
        let has_password = !user.options.is_some_and(|options| options.no_password);
        if has_password {
            user.hashed_password = self
                .hash(turn_of, std::mem::take(&mut user.password))
                .await?;
        }
        let header = self.change(request, Change::UserAdd).await?;
        Ok(Response::new(AuthUserAddResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<AuthUserGetRequest>,
    ) -> Result<Response<AuthUserGetResponse>, Status> {
        let roles = self.roles_of(&request)?;
        let header = self.header();
        Ok(Response::new(AuthUserGetResponse { header, roles }))
    }

    async fn user_list(
        &self,
        request: Request<AuthUserListRequest>,
    ) -> Result<Response<AuthUserListResponse>, Status> {
        let users = self.names(&request, Space::User)?;
        let header = self.header();
        Ok(Response::new(AuthUserListResponse { header, users }))
    }

    async fn user_delete(
        &self,
        request: Request<AuthUserDeleteRequest>,
    ) -> Result<Response<AuthUserDeleteResponse>, Status> {
        let header = self.change(request, Change::UserDelete).await?;
        Ok(Response::new(AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        mut request: Request<AuthUserChangePasswordRequest>,
    ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
        self.check_admin(&request)?;
        let turn_of = turn_of(&request, &request.get_ref().name);
        let user = request.get_mut();
        if !user.password.is_empty() {
            user.hashed_password = self
                .hash(turn_of, std::mem::take(&mut user.password))
                .await?;
        }
        let header = self.change(request, Change::UserChangePassword).await?;
        Ok(Response::new(AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<AuthUserGrantRoleRequest>,
    ) -> Result<Response<AuthUserGrantRoleResponse>, Status> {
        let header = self.change(request, Change::UserGrantRole).await?;
        Ok(Response::new(AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Result<Response<AuthUserRevokeRoleResponse>, Status> {
        let header = self.change(request, Change::UserRevokeRole).await?;
        Ok(Response::new(AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<AuthRoleAddRequest>,
    ) -> Result<Response<AuthRoleAddResponse>, Status> {
        let header = self.change(request, Change::RoleAdd).await?;
        Ok(Response::new(AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<AuthRoleGetRequest>,
    ) -> Result<Response<AuthRoleGetResponse>, Status> {
        let perm = self.permissions_of(&request)?;
        let header = self.header();
        Ok(Response::new(AuthRoleGetResponse { header, perm }))
    }

    async fn role_list(
        &self,
        request: Request<AuthRoleListRequest>,
    ) -> Result<Response<AuthRoleListResponse>, Status> {
        let roles = self.names(&request, Space::Role)?;
        let header = self.header();
        Ok(Response::new(AuthRoleListResponse { header, roles }))
    }

    async fn role_delete(
        &self,
        request: Request<AuthRoleDeleteRequest>,
    ) -> Result<Response<AuthRoleDeleteResponse>, Status> {
        let header = self.change(request, Change::RoleDelete).await?;
        Ok(Response::new(AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<AuthRoleGrantPermissionResponse>, Status> {
        let header = self.change(request, Change::RoleGrantPermission).await?;
        Ok(Response::new(AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<AuthRoleRevokePermissionResponse>, Status> {
        let header = self.change(request, Change::RoleRevokePermission).await?;
        Ok(Response::new(AuthRoleRevokePermissionResponse { header }))
    }
}
