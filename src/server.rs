//! Starts and stops everything, in order.

use std::{sync::Arc, time::Duration};

use dqlite::{client::Endpoint, node};
use etcd_proto::etcdserverpb::{
    cluster_server::ClusterServer, kv_server::KvServer, lease_server::LeaseServer,
    maintenance_server::MaintenanceServer,
};

use crate::{api, compact, store};

pub async fn slice(
    dir: std::path::PathBuf,
    listen: std::net::SocketAddr,
) -> Result<(), Box<dyn std::error::Error>> {
    let dial: node::Dial = Arc::new(|_: &str| Err(std::io::ErrorKind::Unsupported.into()));
    let mut options = node::NodeOptions::new(node::BOOTSTRAP_ID, "127.0.0.1:19001", dir, dial);
    options.bootstrap = true;
    options.network_latency = Some(Duration::from_millis(20));
    let node = tokio::task::spawn_blocking(move || {
        let mut node = node::Node::create(&options)?;
        node.start()?;
        Ok::<_, node::NodeError>(node)
    })
    .await??;
    let endpoint = Endpoint::from_address(node.bind_address());
    let options = store::StoreOptions {
        endpoint,
        is_disk_full: Box::new(|| false),
        cluster_id: 77,
    };
    let (store, writer) = store::open(options).await?;
    let identity = Arc::new(api::Identity::new(
        store.cluster_id(),
        node::BOOTSTRAP_ID,
        2,
    ));
    let (stop, stopping) = api::Stopping::new();
    let compactions = Arc::new(compact::ClientCompactions::default());
    let (wstop, wrx) = tokio::sync::oneshot::channel::<()>();
    let header = identity.clone();
    let hub = crate::watch::WatchHub::new(
        store.history().clone(),
        Box::new(move |r| header.header(r)),
        crate::watch::HubSettings {
            progress_interval: Duration::from_secs(5),
        },
    );
    let publish = hub.clone();
    let writer = tokio::spawn(writer.run(Box::new(move |c| publish.publish(c)), async {
        let _ = wrx.await;
    }));
    let h = hub.clone();
    tokio::spawn(async move { h.run().await });
    tonic::transport::Server::builder()
        .add_service(KvServer::new(api::KvService {
            store: store.clone(),
            identity: identity.clone(),
            compactions,
        }))
        .add_service(LeaseServer::new(api::LeaseService {
            store: store.clone(),
            identity: identity.clone(),
            stopping: stopping.clone(),
        }))
        .add_service(MaintenanceServer::new(api::MaintenanceService::new(
            store.clone(),
            identity.clone(),
        )))
        .add_service(api::WatchService::new(hub.clone()))
        .add_service(ClusterServer::new(api::ClusterService {
            store: store.clone(),
            identity,
            name: "x".into(),
            client_url: format!("http://{listen}"),
            peer_url: "x".into(),
        }))
        .serve_with_shutdown(listen, async move {
            let _ = tokio::signal::ctrl_c().await;
            let _ = stop.send(true);
        })
        .await?;
    drop(wstop);
    writer.await??;
    drop(node);
    Ok(())
}
