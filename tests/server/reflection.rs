//! The reflection of the services for gRPC tools.

use tokio_stream::StreamExt;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::{Kind, Server};

const SERVICES: [&str; 11] = [
    "etcdserverpb.Auth",
    "etcdserverpb.Cluster",
    "etcdserverpb.KV",
    "etcdserverpb.Lease",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Watch",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "v3electionpb.Election",
    "v3lockpb.Lock",
];

macro_rules! listed {
    ($version:ident, $server:expr) => {{
        use $version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let mut client = ServerReflectionClient::new($server.api().await.channel);
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let requests = tokio_stream::once(request);
        let mut answers = client
            .server_reflection_info(requests)
            .await
            .unwrap()
            .into_inner();
        let answer = answers.next().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("{answer:?}")
        };
        let mut names: Vec<_> = list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect();
        names.sort();
        names
    }};
}

#[tokio::test]
async fn all_services_are_listed() {
    let server = Server::start(Kind::K8sDqlite).await;
    let of_its_own = |version: &'static str| {
        let others = SERVICES
            .into_iter()
            .filter(|name| !name.starts_with("grpc.reflection"));
        let mut names: Vec<_> = others.map(str::to_owned).collect();
        names.push(format!("grpc.reflection.{version}.ServerReflection"));
        names.sort();
        names
    };
    assert_eq!(listed!(v1, server), of_its_own("v1"));
    assert_eq!(listed!(v1alpha, server), of_its_own("v1alpha"));
}
