//! One case, two servers: what etcd does is what k8s-dqlite must do.

use super::{Kind, Options, Server};

/// A running etcd, or none where the machine has none; then it says so.
pub async fn etcd_or_skip(options: Options) -> Option<Server> {
    if std::env::var_os("ETCD_BIN").is_none() {
        eprintln!("skipped: ETCD_BIN does not name an etcd (scripts/etcd brings one)");
        return None;
    }
    Some(Server::start_with(Kind::Etcd, options).await)
}

/// Makes two tests, `on_k8s_dqlite` and `on_etcd`, of each named `async fn(Server)`.
///
/// Each gets a store of its own, so that revisions are known numbers.
macro_rules! parity {
    ($($case:ident),* $(,)?) => { parity! { with Options::default(); $($case),* } };
    (with $options:expr; $($case:ident),* $(,)?) => {$(
        mod $case {
            #[allow(unused_imports)]
            use super::*;

            #[tokio::test]
            async fn on_k8s_dqlite() {
                let options: $crate::harness::Options = $options;
                let kind = $crate::harness::Kind::K8sDqlite;
                super::$case($crate::harness::Server::start_with(kind, options).await).await;
            }

            #[tokio::test]
            async fn on_etcd() {
                let options: $crate::harness::Options = $options;
                if let Some(server) = $crate::harness::etcd_or_skip(options).await {
                    super::$case(server).await;
                }
            }
        }
    )*};
}
