//! TCP sockets between nodes: connecting in time, and noticing a peer that is gone.

use std::io;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// Seconds of silence before the first probe.
const KEEPALIVE_IDLE_S: u32 = 3;
/// Seconds between probes.
const KEEPALIVE_INTERVAL_S: u32 = 3;
/// Unanswered probes that end the connection: with the above, a dead peer is noticed after 12 s.
const KEEPALIVE_PROBES: u32 = 3;
/// Sent data that nobody acknowledges ends the connection after this time, in ms. As go-dqlite meant it.
const USER_TIMEOUT_MS: u32 = 30_000;

/// Connects to `host:port`.
pub(crate) async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    tune(&stream)?;
    Ok(stream)
}

/// Sets the options of a connection to or from another node. Without NODELAY a pipelined request or a
/// large reply waits 40 ms for a delayed acknowledgement.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_S)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_S)?;
    setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &USER_TIMEOUT_MS)?;
    Ok(())
}

/// The host of `host:port`, without the brackets of an IPv6 address.
pub(crate) fn host(address: &str) -> &str {
    let host = address
        .rsplit_once(':')
        .map_or(address, |(host, _port)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn host_is_what_precedes_the_port() {
        assert_eq!(host("node1:9000"), "node1");
        assert_eq!(host("10.0.0.1:9000"), "10.0.0.1");
        assert_eq!(host("[fd00::1]:9000"), "fd00::1");
        assert_eq!(host("node1"), "node1");
    }

    #[tokio::test]
    async fn connection_notices_a_dead_peer_and_does_not_delay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stream = connect(&address).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        assert_eq!(
            getsockopt(&stream, sockopt::TcpKeepIdle).unwrap(),
            KEEPALIVE_IDLE_S
        );
        assert_eq!(
            getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(),
            USER_TIMEOUT_MS
        );
    }
}
