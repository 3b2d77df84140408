fn main() {
    dqlite::node::prepare_process();
    tracing_subscriber::fmt()
        .with_env_filter("debug,h2=info,tower=info")
        .with_writer(std::io::stderr)
        .init();
    let args: Vec<String> = std::env::args().collect();
    let rt = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(k8s_dqlite::server::slice(
        args[1].clone().into(),
        args[2].parse().unwrap(),
    ))
    .unwrap();
}
