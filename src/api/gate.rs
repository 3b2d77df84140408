//! Refuses callers who may not use a service. Only for services whose calls need the same
//! permission whatever the request says; the others check for themselves.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use etcd_state::{auth::AuthError, requests::RequestError};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    metadata::MetadataMap,
    server::NamedService,
};

use super::{access::Access, status::status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    User,
    Admin,
}

/// Returns the permission that a call needs while authentication is on, as in etcd
/// (`api/v3rpc/maintenance.go`, `etcdserver/server.go`).
fn need(path: &str) -> Need {
    let method = path.rsplit('/').next().unwrap_or_default();
    match method {
        "MemberList" | "Status" | "Alarm" => Need::User,
        _ => Need::Admin,
    }
}

#[derive(Clone)]
pub struct Gate<S> {
    pub access: Arc<Access>,
    pub inner: S,
}

impl<S> Gate<S> {
    fn check(&self, request: &mut http::Request<Body>) -> Result<(), AuthError> {
        let need = need(request.uri().path());
        if !self.access.is_enabled() {
            return Ok(());
        }
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let Some(caller) = self.access.caller_of(&metadata, request.extensions())? else {
            return Ok(());
        };
        match need {
            Need::User => caller.check_user()?,
            Need::Admin => caller.check_admin()?,
        }
        // For a call that asks for more, depending on its request.
        request.extensions_mut().insert(caller);
        Ok(())
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = BoxFuture<S::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Err(error) = self.check(&mut request) {
            let refusal: Status = status(RequestError::Auth(error));
            return Box::pin(async move { Ok(refusal.into_http()) });
        }
        Box::pin(self.inner.call(request))
    }
}
