//! Letting a node in.

use axum::extract::{Request, State};
use hyper::Method;
use serde_json::json;
use tracing::info;

use crate::{
    Error,
    api::{Admission, ClusterMember, DatastoreAdmission, EXTENSIONS, Peer},
    certificate::{check_name, has_dns_name, is_valid_at, parse},
    cluster::{Cluster, entry},
    datastore::{check_address, no_datastore},
    failpoint::fail_at,
    peers::tell_others,
    rest::{Answered, Shared, access::small_body, answer, forbidden},
    server::Caller,
    time::now_s,
    trust::TrustEntry,
};

/// Admits a node that shows a valid token.
pub async fn admit(State(daemon): Shared, request: Request) -> Answered {
    let shown = match request.extensions().get::<Caller>() {
        Some(Caller::Network(Some(certificate))) => certificate.clone(),
        _ => return Err(forbidden()),
    };
    let member: ClusterMember = small_body(request).await?;
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
    // Before anything is told of the cluster. It is checked again when it is used up.
    cluster
        .database
        .check_token(&member.name, &member.secret, now_s())
        .await?;
    if member.extensions != EXTENSIONS {
        return Err(Error::Invalid(
            "The extensions of the nodes differ".to_owned(),
        ));
    }
    let datastore = datastore_for(&cluster, &member).await?;
    cluster
        .database
        .add_member(&member, Some(&member.secret))
        .await?;
    fail_at("let_in");
    info!(
        name = member.name,
        address = member.address,
        "a node is let in"
    );
    let entry = entry(ClusterMember {
        secret: String::new(),
        ..member
    });
    cluster.refresh_trust().await?;
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
        datastore,
    })
}

/// Returns what a node needs to run the datastore, if it is to run it. Called before the token is
/// used up.
async fn datastore_for(
    cluster: &Cluster,
    member: &ClusterMember,
) -> Result<Option<DatastoreAdmission>, Error> {
    if member.datastore_address.is_empty() {
        return Ok(None);
    }
    check_address(&member.datastore_address)?;
    let addresses = cluster.database.datastore_addresses().await?;
    if addresses.values().any(|a| *a == member.datastore_address) {
        return Err(Error::Conflict(
            "A member with this datastore address exists already: remove it first".to_owned(),
        ));
    }
    match cluster.database.datastore_pair().await? {
        Some(pair) if !addresses.is_empty() => Ok(Some(DatastoreAdmission {
            certificate: pair.certificate,
            key: pair.key,
            addresses: addresses.into_values().collect(),
        })),
        _ => Err(no_datastore()),
    }
}

fn peer(entry: TrustEntry) -> Peer {
    Peer {
        name: entry.name,
        address: entry.address,
        certificate: entry.certificate,
    }
}
