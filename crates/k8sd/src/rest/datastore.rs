//! The datastore's pair, after it was replaced.

use axum::extract::{Request, State};
use serde_json::json;
use tracing::info;

use crate::{
    api::{DatastorePair, TakenPair},
    certificate::PemPair,
    datastore,
    rest::{
        Answered, Shared,
        access::{json_body, only_socket},
        answer,
    },
};

pub async fn take_pair(State(daemon): Shared, request: Request) -> Answered {
    only_socket(&request)?;
    let DatastorePair { certificate, key } = json_body(request).await?;
    let pair = PemPair { certificate, key };
    let cluster = daemon.cluster()?;
    let taken = datastore::take_pair(&cluster, &pair).await?;
    if taken == TakenPair::New {
        info!("the copy of the datastore's pair is replaced");
    }
    answer(json!(taken))
}
