//! Statements and dumps.

use axum::extract::{Request, State};

use crate::{
    api,
    rest::{
        Answered, Shared,
        access::{flag, json_body, only_trusted},
        answer,
    },
    sql::{self, Session},
};

pub async fn dump(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let only_schema = flag(&request, "schema");
    let cluster = daemon.cluster()?;
    let dumped = sql::in_time(async move |deadline| {
        let connection = cluster.database.connect().await?;
        sql::dump(Session::new(connection, deadline), only_schema).await
    });
    let text = dumped.await?;
    answer(api::SqlDump { text })
}

pub async fn run(State(daemon): Shared, request: Request) -> Answered {
    let access = only_trusted(&daemon, &request)?;
    let query: api::SqlQuery = json_body(request).await?;
    let cluster = daemon.cluster()?;
    let ran = sql::in_time(async move |deadline| {
        let connection = cluster.database.connect().await?;
        let session = Session::new(connection, deadline);
        sql::run(session, &query.query, access, query.transaction).await
    });
    answer(ran.await?)
}
