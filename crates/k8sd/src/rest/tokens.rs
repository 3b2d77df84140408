//! Join tokens.

use axum::extract::{Path, Request, State};
use serde_json::json;

use crate::{
    Error,
    api::{NewToken, TokenRecord},
    certificate::{check_name, fingerprint, parse},
    cluster::Cluster,
    daemon::Daemon,
    rest::{
        Answered, Shared,
        access::{json_body, only_socket, only_trusted},
        answer,
    },
    time::{now_s, rfc3339},
    token::{JoinToken, new_secret},
};

const NS_PER_S: i64 = 1_000_000_000;

pub async fn add(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    let NewToken { name, expire_after } = json_body(request).await?;
    check_name(&name)?;
    if expire_after < 0 {
        return Err(Error::Invalid("expire_after is negative".to_owned()));
    }
    let beginning = daemon.clone();
    // A client that leaves does not stop a change half-way.
    let begun = tokio::spawn(async move { beginning.begin_if_new().await });
    begun.await.map_err(|e| Error::Internal(e.to_string()))??;
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

pub async fn list(State(daemon): Shared, request: Request) -> Answered {
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

pub async fn revoke(State(daemon): Shared, Path(name): Path<String>, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    match daemon.cluster()?.database.remove_token(&name).await? {
        true => answer(json!({})),
        false => Err(Error::NotFound(format!(
            "There is no join token for {name:?}"
        ))),
    }
}
