//! Statements and dumps.

use axum::extract::{Request, State};
use tokio::time::timeout;

use crate::{
    api,
    rest::{
        Answered, Shared,
        access::{flag, json_body, only_trusted},
        answer,
    },
    sql,
};

pub async fn dump(State(daemon): Shared, request: Request) -> Answered {
    only_trusted(&daemon, &request)?;
    let only_schema = flag(&request, "schema");
    let cluster = daemon.cluster()?;
    let dumped = timeout(sql::BUDGET, async {
        sql::dump(&mut cluster.database.connect().await?, only_schema).await
    });
    let text = dumped.await.unwrap_or_else(|_| Err(sql::too_late()))?;
    answer(api::SqlDump { text })
}

pub async fn run(State(daemon): Shared, request: Request) -> Answered {
    let access = only_trusted(&daemon, &request)?;
    let query: api::SqlQuery = json_body(request).await?;
    let cluster = daemon.cluster()?;
    let ran = timeout(sql::BUDGET, async {
        let mut connection = cluster.database.connect().await?;
        sql::run(&mut connection, &query.query, access, query.transaction).await
    });
    answer(ran.await.unwrap_or_else(|_| Err(sql::too_late()))?)
}
