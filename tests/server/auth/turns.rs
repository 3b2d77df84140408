//! Many who sign in at once.

use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tonic::Code;

use super::{add_user, authenticate, enable};
use crate::harness::*;

/// A turn takes some 50 ms, more where others keep the machine busy; 500 take 25 s at least.
const SIGNED_IN_WITHIN: Duration = Duration::from_secs(8);

#[tokio::test]
async fn many_who_sign_in_hold_up_nobody_else() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let root = enable(&api).await;
    add_user(&root, "alice", &[]).await;
    let mut many = JoinSet::new();
    for _ in 0..500 {
        let api = api.clone();
        many.spawn(async move { api.try_ask(authenticate("alice", "wrong")).await });
    }
    // The first ones that are refused tell that the others wait.
    let mut codes = Vec::new();
    while !codes.contains(&Code::ResourceExhausted) {
        codes.push(many.join_next().await.unwrap().unwrap().unwrap_err().code());
    }
    let began = Instant::now();
    api.ask(authenticate("root", "root")).await;
    let took = began.elapsed();
    println!("signed in after {took:?}");
    assert!(took < SIGNED_IN_WITHIN, "{took:?}");
    while let Some(ended) = many.join_next().await {
        codes.push(ended.unwrap().unwrap_err().code());
    }
    let wrong = codes.iter().filter(|code| **code == Code::InvalidArgument);
    assert!(wrong.count() >= 64, "those who waited get an answer");
}
