//! The endpoints, and who may use each.
//!
//! | Module | Owns |
//! |---|---|
//! | `access` | the sender of a request, its body and flags |
//! | `control` | bootstrap, join, stop; the node itself |
//! | `tokens` | join tokens |
//! | `members` | the list of members, a removal |
//! | `admit` | letting a node in |
//! | `datastore` | the datastore's pair, after it was replaced |
//! | `fanout` | messages of other members to this one |
//! | `check` | rows, dqlite's cluster and trust compared |
//! | `sql` | statements and dumps |
//! | `upgrade` | from HTTP to dqlite's protocol |
//!
//! Invariants: what comes by the network needs the certificate of a member, looked up anew for each request;
//! only a join is let in by a token instead. Everything that creates trust or tokens needs the socket.

mod access;
mod admit;
mod check;
mod control;
mod datastore;
mod fanout;
mod members;
mod sql;
mod tokens;
mod upgrade;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post, put},
};
use serde::Serialize;

use crate::{Error, api, daemon::Daemon};

/// A removal that another member carries out: dqlite's own limit is 120 s.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(140);

type Shared = State<Arc<Daemon>>;

type Answered = Result<Response, Error>;

macro_rules! endpoints {
    ($($method:ident $path:literal => $handler:path,)*) => {
        /// Method and path of every endpoint: what the tests of access have to cover.
        pub const ENDPOINTS: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        fn routes() -> Router<Arc<Daemon>> {
            Router::new()$(.route($path, $method($handler)))*
        }
    };
}

endpoints! {
    post "/core/control" => control::control,
    post "/core/control/shutdown" => control::shutdown,
    get "/core/control/tokens" => tokens::list,
    post "/core/control/tokens" => tokens::add,
    get "/core/1.0" => control::about,
    get "/core/1.0/ready" => control::ready,
    get "/core/1.0/cluster" => members::list,
    delete "/core/1.0/cluster/{name}" => members::remove,
    delete "/core/1.0/tokens/{name}" => tokens::revoke,
    post "/core/internal/cluster" => admit::admit,
    put "/core/internal/cluster/{name}" => control::reset,
    put "/core/internal/datastore/pair" => datastore::take_pair,
    post "/core/internal/database" => upgrade::database,
    patch "/core/internal/database" => upgrade::nothing,
    get "/core/internal/sql" => sql::dump,
    post "/core/internal/sql" => sql::run,
    post "/core/internal/heartbeat" => fanout::heartbeat,
    post "/core/internal/truststore" => fanout::heard,
    delete "/core/internal/truststore/{name}" => fanout::heard,
    post "/core/internal/check" => check::check,
}

pub(crate) fn router(daemon: Arc<Daemon>) -> Router {
    routes()
        .fallback(async || Error::NotFound("not found".to_owned()))
        .with_state(daemon)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = api::failure(status, &self.to_string());
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (
            code,
            [(header::CONTENT_TYPE, "application/json")],
            body.to_string(),
        )
            .into_response()
    }
}

fn answer(metadata: impl Serialize) -> Answered {
    let metadata = serde_json::to_value(metadata).map_err(|e| Error::Internal(e.to_string()))?;
    let body = api::success(&metadata).to_string();
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn forbidden() -> Error {
    Error::Forbidden("Forbidden".to_owned())
}
