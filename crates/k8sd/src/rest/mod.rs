//! The endpoints, and who may use which.
//!
//! | Module | Owns |
//! |---|---|
//! | `access` | who a request comes from, its body and flags |
//! | `control` | bootstrap, join, stop; the node itself |
//! | `tokens` | join tokens |
//! | `members` | the list of members, a removal |
//! | `admit` | letting a node in |
//! | `fanout` | telling the other members |
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
    routing::{delete, get, post, put},
};
use serde::Serialize;

use crate::{Error, api, cluster::DATABASE_PATH, daemon::Daemon};

/// One question to another member.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

type Shared = State<Arc<Daemon>>;

type Answered = Result<Response, Error>;

pub(crate) fn router(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/core/control", post(control::control))
        .route("/core/control/shutdown", post(control::shutdown))
        .route("/core/control/tokens", get(tokens::list).post(tokens::add))
        .route("/core/1.0", get(control::about))
        .route("/core/1.0/ready", get(control::ready))
        .route("/core/1.0/cluster", get(members::list))
        .route("/core/1.0/cluster/{name}", delete(members::remove))
        .route("/core/1.0/tokens/{name}", delete(tokens::revoke))
        .route("/core/internal/cluster", post(admit::admit))
        .route("/core/internal/cluster/{name}", put(control::reset))
        .route(
            DATABASE_PATH,
            post(upgrade::database).patch(upgrade::nothing),
        )
        .route("/core/internal/sql", get(sql::dump).post(sql::run))
        .route("/core/internal/truststore", post(fanout::heard))
        .route("/core/internal/truststore/{name}", delete(fanout::heard))
        .route("/core/internal/check", post(check::check))
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
