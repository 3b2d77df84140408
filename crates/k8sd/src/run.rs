//! A daemon from its start to its end.

use crate::{
    Error,
    api::Control,
    certificate::{self, generate},
    daemon::Daemon,
    recover, rest, server,
    state::{StateDir, remove_file},
    time::now_s,
    told::tell_service_manager,
};

/// The options of a daemon.
pub struct DaemonOptions {
    pub state: StateDir,
    /// The group that may use the control socket.
    pub socket_group: Option<String>,
    /// The cluster that the first join token begins, where there is none yet.
    pub first: Option<Control>,
}

/// Serves the state directory until `stop` is ready, or somebody asks for it through the socket.
pub async fn run(options: DaemonOptions, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let DaemonOptions {
        state,
        socket_group,
        first,
    } = options;
    state.create()?;
    let _lock = server::lock(state.root()).await?;
    let socket = server::bind_socket(&state.control_socket(), socket_group.as_deref()).await?;
    recover::prepare(&state, now_s())?;
    if certificate::load(&state, "server")?.is_none() {
        let host = nix::unistd::gethostname().unwrap_or_default();
        let pair = generate(&host.to_string_lossy(), now_s())?;
        certificate::save(&state, "server", &pair)?;
    }
    let daemon = Daemon::new(state.clone(), first, rest::router);
    let changing = daemon.hold().await;
    let serving = tokio::spawn(server::serve_socket(socket, rest::router(daemon.clone())));
    let telling = tokio::spawn(tell_service_manager(daemon.clone()));
    let starting = async {
        daemon.resume().await?;
        drop(changing);
        service_manager::ready().await;
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = starting => ended,
        () = daemon.asked_to_shut_down() => Ok(()),
        () = stop => Ok(()),
    };
    // What ends from now on ends because it is told to.
    stopping::note();
    service_manager::stopping().await;
    daemon.end(true).await;
    serving.abort();
    telling.abort();
    remove_file(&state.control_socket())?;
    ended
}
