//! The endpoints, and who may use which.
//!
//! Invariants: what comes by the network needs the certificate of a member, looked up anew for each request;
//! only a join is let in by a token instead. Everything that creates trust or tokens needs the socket.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Method;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};
use tracing::{info, warn};

use crate::{
    Error,
    api::{self, Admission, CheckReport, ClusterMember, EXTENSIONS, NewToken, Peer, TokenRecord},
    certificate::{check_name, fingerprint, has_dns_name, is_valid_at, parse},
    client::Target,
    cluster::{Cluster, DATABASE_PATH, entry},
    daemon::{Daemon, Phase, about},
    server::Caller,
    sql,
    time::{now_s, rfc3339},
    token::{JoinToken, new_secret},
    trust::TrustEntry,
};

/// Bytes of a request, SQL scripts included.
const MAX_BODY_BYTES: usize = 16 << 20;

/// A body arrives within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// One question to another member.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

const NS_PER_S: i64 = 1_000_000_000;

type Shared = State<Arc<Daemon>>;

type Answered = Result<Response, Error>;

pub(crate) fn router(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/core/control", post(control))
        .route("/core/control/shutdown", post(shutdown))
        .route("/core/control/tokens", get(list_tokens).post(add_token))
        .route("/core/1.0", get(show_about))
        .route("/core/1.0/ready", get(ready))
        .route("/core/1.0/cluster", get(members))
        .route("/core/1.0/cluster/{name}", delete(remove))
        .route("/core/1.0/tokens/{name}", delete(revoke))
        .route("/core/internal/cluster", post(admit))
        .route("/core/internal/cluster/{name}", put(reset))
        .route(DATABASE_PATH, post(database).patch(nothing))
        .route("/core/internal/sql", get(dump).post(run_sql))
        .route("/core/internal/truststore", post(trust))
        .route("/core/internal/truststore/{name}", delete(trust))
        .route("/core/internal/check", post(check))
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

fn only_socket(request: &Request) -> Result<(), Error> {
    match request.extensions().get::<Caller>() {
        Some(Caller::Socket) => Ok(()),
        _ => Err(forbidden()),
    }
}

/// The socket, or a member.
fn only_trusted(daemon: &Daemon, request: &Request) -> Result<sql::Access, Error> {
    let certificate = match request.extensions().get::<Caller>() {
        Some(Caller::Socket) => return Ok(sql::Access::Write),
        Some(Caller::Network(Some(certificate))) => certificate,
        _ => return Err(forbidden()),
    };
    let cluster = match daemon.phase() {
        Phase::Open(cluster) | Phase::Opening(cluster) => cluster,
        _ => return Err(forbidden()),
    };
    match cluster.trust.member(certificate, now_s()) {
        Some(_) => Ok(sql::Access::Read),
        None => Err(forbidden()),
    }
}

async fn body(request: Request) -> Result<Bytes, Error> {
    let collected = timeout(
        BODY_TIMEOUT,
        Limited::new(request.into_body(), MAX_BODY_BYTES).collect(),
    );
    match collected.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Error::Invalid(format!("cannot read the request: {error}"))),
        Err(_) => Err(Error::Invalid(
            "the request does not arrive in time".to_owned(),
        )),
    }
}

async fn json_body<T: DeserializeOwned>(request: Request) -> Result<T, Error> {
    let body = body(request).await?;
    serde_json::from_slice(&body).map_err(|error| Error::Invalid(format!("wrong request: {error}")))
}

/// Flags of a query string: `schema=1`.
fn flag(request: &Request, name: &str) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == format!("{name}=1"))
}

async fn control(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    let control = json_body(request).await?;
    // A client that leaves does not stop a change half-way.
    let changing = tokio::spawn(async move { daemon.control(control).await });
    changing
        .await
        .map_err(|e| Error::Internal(e.to_string()))??;
    answer(json!({}))
}

async fn shutdown(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    daemon.ask_shutdown();
    answer(json!({}))
}

async fn show_about(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    answer(about(&daemon.cluster()?.own))
}

async fn ready(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    match daemon.cluster() {
        Ok(_) => answer(json!({})),
        Err(_) => Err(Error::Unavailable("Daemon is not ready yet".to_owned())),
    }
}

async fn nothing(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    answer(json!({}))
}

async fn add_token(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    let NewToken { name, expire_after } = json_body(request).await?;
    check_name(&name)?;
    if expire_after < 0 {
        return Err(Error::Invalid("expire_after is negative".to_owned()));
    }
    let cluster = daemon.cluster()?;
    if cluster
        .database
        .members()
        .await?
        .iter()
        .any(|member| member.name == name)
    {
        return Err(Error::Conflict(format!(
            "A member with the name {name:?} exists already"
        )));
    }
    let secret = new_secret();
    let expires_s = (expire_after > 0).then(|| now_s() + (expire_after / NS_PER_S).max(1));
    cluster
        .database
        .add_token(&name, &secret, expires_s)
        .await?;
    answer(token_text(&daemon, &cluster, secret)?)
}

fn token_text(daemon: &Daemon, cluster: &Cluster, secret: String) -> Result<String, Error> {
    let pair = daemon.cluster_pair()?;
    let token = JoinToken {
        secret,
        fingerprint: fingerprint(&parse(&pair.certificate)?)?,
        join_addresses: cluster
            .trust
            .entries()
            .into_iter()
            .map(|entry| entry.address)
            .collect(),
    };
    Ok(token.encode())
}

async fn list_tokens(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    let cluster = daemon.cluster()?;
    let mut records = Vec::new();
    for token in cluster.database.tokens().await? {
        records.push(TokenRecord {
            name: token.name,
            token: token_text(&daemon, &cluster, token.secret)?,
            expires_at: token.expires_s.map(rfc3339),
        });
    }
    answer(records)
}

async fn revoke(State(daemon): Shared, Path(name): Path<String>, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    match daemon.cluster()?.database.remove_token(&name).await? {
        true => answer(json!({})),
        false => Err(Error::NotFound(format!(
            "There is no join token for {name:?}"
        ))),
    }
}

async fn members(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let cluster = daemon.cluster()?;
    let members = cluster.database.members().await?;
    let mut asked = JoinSet::new();
    for (at, mut member) in members.into_iter().enumerate() {
        let (tls, is_own) = (cluster.tls.clone(), member.name == cluster.own.name);
        asked.spawn(async move {
            let target = Target::Member {
                address: member.address.clone(),
                tls,
            };
            let answered = is_own || {
                let path = "/core/1.0/ready";
                target
                    .call::<Value>(Method::GET, path, None, PEER_TIMEOUT)
                    .await
                    .is_ok()
            };
            member.status = if answered { "ONLINE" } else { "UNREACHABLE" }.to_owned();
            (at, member)
        });
    }
    let mut members = asked.join_all().await;
    members.sort_by_key(|(at, _)| *at);
    answer(
        members
            .into_iter()
            .map(|(_, member)| member)
            .collect::<Vec<_>>(),
    )
}

/// A node asks to be let in, and shows a token.
async fn admit(State(daemon): Shared, request: Request) -> Answered {
    let shown = match request.extensions().get::<Caller>() {
        Some(Caller::Network(Some(certificate))) => certificate.clone(),
        _ => return Err(forbidden()),
    };
    let member: ClusterMember = json_body(request).await?;
    let cluster = daemon.cluster()?;
    check_name(&member.name)?;
    if member.address.parse::<std::net::SocketAddr>().is_err() {
        return Err(Error::Invalid(format!(
            "Invalid address {:?}",
            member.address
        )));
    }
    // The key of the certificate that will be trusted is the one that was proven.
    let named = parse(&member.certificate)?;
    if named.to_der()? != shown.to_der()? || !has_dns_name(&shown, &member.name) {
        return Err(Error::Forbidden(
            "The certificate is not that of the name in the join token".to_owned(),
        ));
    }
    if !is_valid_at(&shown, now_s()) {
        return Err(Error::Forbidden(
            "The certificate is not valid now: do the clocks agree?".to_owned(),
        ));
    }
    if member.extensions != EXTENSIONS {
        return Err(Error::Invalid(
            "The extensions of the nodes differ".to_owned(),
        ));
    }
    cluster
        .database
        .add_member(&member, Some(&member.secret))
        .await?;
    info!(
        name = member.name,
        address = member.address,
        "a node is let in"
    );
    let entry = entry(ClusterMember {
        secret: String::new(),
        ..member
    });
    cluster.trust.add(entry.clone())?;
    tell_others(
        &cluster,
        Method::POST,
        "/core/internal/truststore",
        json!(entry),
    )
    .await;
    let peers = cluster.trust.entries().into_iter().map(peer);
    let pair = daemon.cluster_pair()?;
    answer(Admission {
        cluster_cert: pair.certificate,
        cluster_key: pair.key,
        cluster_members: peers.filter(|peer| peer.name != entry.name).collect(),
        additional: json!({}),
        trusted_member: cluster
            .trust
            .entries()
            .into_iter()
            .find(|entry| entry.name == cluster.own.name)
            .map(peer),
    })
}

fn peer(entry: TrustEntry) -> Peer {
    Peer {
        name: entry.name,
        address: entry.address,
        certificate: entry.certificate,
    }
}

/// Those that are not reached learn it with their next look at the members.
async fn tell_others(cluster: &Cluster, method: Method, path: &str, body: Value) {
    let mut told = JoinSet::new();
    for other in cluster.trust.entries() {
        if other.name == cluster.own.name
            || body.get("name").is_some_and(|name| *name == other.name)
        {
            continue;
        }
        let target = Target::Member {
            address: other.address.clone(),
            tls: cluster.tls.clone(),
        };
        let (method, path, body) = (method.clone(), path.to_owned(), body.clone());
        told.spawn(async move {
            if let Err(error) = target
                .call::<Value>(method, &path, Some(&body), PEER_TIMEOUT)
                .await
            {
                warn!(member = other.name, %error, "a member is not told of a change");
            }
        });
    }
    told.join_all().await;
}

/// Whom to trust has changed. What the request says is not believed: the rows are read.
async fn trust(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    daemon.cluster()?.look().await?;
    answer(json!({}))
}

/// dqlite first, then the row, then trust, then the node itself: what a crash leaves in between is a row
/// without a server, which `check` finds and the same request completes.
async fn remove(State(daemon): Shared, Path(name): Path<String>, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let force = flag(&request, "force");
    let cluster = daemon.cluster()?;
    let removing = tokio::spawn(async move { remove_member(&cluster, &name, force).await });
    removing
        .await
        .map_err(|e| Error::Internal(e.to_string()))??;
    answer(json!({}))
}

async fn remove_member(cluster: &Cluster, name: &str, force: bool) -> Result<(), Error> {
    let members = cluster.database.members().await?;
    let Some(gone) = members.iter().find(|member| member.name == name) else {
        return Err(Error::NotFound(format!(
            "No cluster member exists with the given name {name:?}"
        )));
    };
    if members.len() < 2 {
        return Err(Error::Conflict(
            "Cannot leave a cluster with 1 members".to_owned(),
        ));
    }
    let target = Target::Member {
        address: gone.address.clone(),
        tls: cluster.tls.clone(),
    };
    let ready = target
        .call::<Value>(Method::GET, "/core/1.0/ready", None, PEER_TIMEOUT)
        .await;
    if let Err(error) = &ready
        && !force
    {
        return Err(Error::Unavailable(format!(
            "{name} is not reachable, and would not notice that it is removed ({error}); --force removes it"
        )));
    }
    let mut nodes = cluster.nodes();
    let servers = nodes.leader().await?.cluster().await?;
    if let Some(server) = servers.iter().find(|server| server.address == gone.address) {
        dqlite::cluster::remove(&mut nodes, server.id).await?;
    }
    cluster.database.remove_member(name).await?;
    let path = format!("/core/internal/cluster/{name}?force=1");
    let reset = target
        .call::<Value>(Method::PUT, &path, None, PEER_TIMEOUT)
        .await;
    if let Err(error) = reset {
        warn!(name, %error, "the removed node does not know it yet");
    }
    if name != cluster.own.name {
        cluster.trust.remove(name)?;
        let path = format!("/core/internal/truststore/{name}");
        tell_others(cluster, Method::DELETE, &path, json!({})).await;
    }
    info!(name, "a member is removed");
    Ok(())
}

/// This node was removed.
async fn reset(State(daemon): Shared, Path(name): Path<String>, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let cluster = daemon.cluster()?;
    if cluster.own.name != name {
        return Err(Error::Invalid(format!("this node is {}", cluster.own.name)));
    }
    // After the answer: the connection ends with the cluster.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Err(error) = daemon.reset().await {
            warn!(%error, "the state directory is not reset");
        }
    });
    answer(json!({}))
}

async fn dump(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let only_schema = flag(&request, "schema");
    let cluster = daemon.cluster()?;
    let dumped = timeout(sql::BUDGET, async {
        sql::dump(&mut cluster.database.connect().await?, only_schema).await
    });
    let text = dumped.await.unwrap_or_else(|_| Err(too_late()))?;
    answer(api::SqlDump { text })
}

async fn run_sql(State(daemon): Shared, request: Request) -> Answered {
    let access = only_trusted(&daemon, &request)?;
    let query: api::SqlQuery = json_body(request).await?;
    let cluster = daemon.cluster()?;
    let ran = timeout(sql::BUDGET, async {
        let mut connection = cluster.database.connect().await?;
        sql::run(&mut connection, &query.query, access, query.transaction).await
    });
    answer(ran.await.unwrap_or_else(|_| Err(too_late()))?)
}

fn too_late() -> Error {
    Error::Unavailable(format!(
        "the statements take longer than {} s",
        sql::BUDGET.as_secs()
    ))
}

/// Compares rows, dqlite's cluster and trust; `repair=1` removes what belongs to no member.
async fn check(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    let repair = flag(&request, "repair");
    let cluster = daemon.cluster()?;
    let members = cluster.database.members().await?;
    let mut nodes = cluster.nodes();
    let servers = nodes.leader().await?.cluster().await?;
    let mut report = CheckReport::default();
    for server in &servers {
        if members
            .iter()
            .all(|member| member.address != server.address)
        {
            let text = format!(
                "dqlite's server {:x} at {} is no member",
                server.id, server.address
            );
            if repair {
                dqlite::cluster::remove(&mut nodes, server.id).await?;
                report.repaired.push(text.clone());
            }
            report.findings.push(text);
        }
    }
    for member in &members {
        if servers
            .iter()
            .all(|server| server.address != member.address)
        {
            let text = format!(
                "the member {} is no server of dqlite ({})",
                member.name, member.role
            );
            if repair && member.role != api::PENDING {
                cluster.database.remove_member(&member.name).await?;
                report.repaired.push(text.clone());
            }
            report.findings.push(text);
        }
    }
    for entry in cluster.trust.entries() {
        if members.iter().all(|member| member.name != entry.name) {
            report
                .findings
                .push(format!("{} is trusted, and no member", entry.name));
        }
    }
    if repair {
        cluster.look().await?;
    }
    answer(report)
}

/// From HTTP to dqlite's protocol.
async fn database(State(daemon): Shared, mut request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    check_upgrade(request.headers())?;
    let cluster = match daemon.phase() {
        Phase::Open(cluster) | Phase::Opening(cluster) => cluster,
        _ => return Err(forbidden()),
    };
    let upgrading = hyper::upgrade::on(&mut request);
    let (engine, stopped) = (cluster.engine.clone(), cluster.stopped());
    tokio::spawn(async move {
        let Ok(stream) = upgrading.await else { return };
        let serving = dqlite::proxy::serve_engine(TokioIo::new(stream), &engine);
        tokio::select! {
            ended = serving => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to dqlite ended");
                }
            }
            () = stopped => {}
        }
    });
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "dqlite")
        .body(Body::empty());
    answer.map_err(|error| Error::Internal(error.to_string()))
}

fn check_upgrade(headers: &HeaderMap) -> Result<(), Error> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(version) = text("x-dqlite-version")
        && version.parse::<u64>().is_err()
    {
        return Err(Error::Invalid(format!("Invalid dqlite version: {version}")));
    }
    match text("upgrade") {
        Some("dqlite") => Ok(()),
        _ => Err(Error::Invalid(
            "Missing or invalid upgrade header".to_owned(),
        )),
    }
}
