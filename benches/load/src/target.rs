//! The server under load and the connections to it.

use std::str::FromStr;
use std::time::Duration;

use etcd_proto::etcdserverpb::kv_client::KvClient;
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;

/// A server on the same machine that takes longer is not listening.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Lists of 10,000 objects are larger than tonic's default of 4 MiB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

pub type Kv = KvClient<Channel>;

/// `NAME=URL` or `NAME=URL,PID+PID...` on the command line.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    pub endpoint: String,
    /// Processes whose CPU time and memory are reported, all together.
    pub server_pids: Vec<u32>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text
            .split_once('=')
            .ok_or("say NAME=URL or NAME=URL,PID+PID...")?;
        let (endpoint, server_pids) = match rest.rsplit_once(',') {
            Some((endpoint, pids)) => (endpoint, parse_pids(pids)?),
            None => (rest, Vec::new()),
        };
        Ok(Target {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            server_pids,
        })
    }
}

/// Process ids with plus signs between them.
pub fn parse_pids(text: &str) -> Result<Vec<u32>, String> {
    let parse = |pid: &str| {
        let parsed = pid.parse();
        parsed.map_err(|_| format!("'{pid}' is no process id"))
    };
    text.split('+').map(parse).collect()
}

impl Target {
    pub async fn connect(&self) -> Result<Channel, Failure> {
        let unreachable = |error: &dyn std::error::Error| Failure::Unreachable {
            endpoint: self.endpoint.clone(),
            reason: deepest(error),
        };
        Endpoint::from_shared(self.endpoint.clone())
            .map_err(|error| unreachable(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .connect()
            .await
            .map_err(|error| unreachable(&error))
    }
}

pub fn kv(channel: Channel) -> Kv {
    KvClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

/// tonic says "transport error"; the cause is at the end of the chain.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_name_url_and_process_id() {
        let target: Target = "etcd=http://127.0.0.1:2379,42+43".parse().unwrap();
        assert_eq!(
            (
                target.name.as_str(),
                target.endpoint.as_str(),
                &target.server_pids[..]
            ),
            ("etcd", "http://127.0.0.1:2379", &[42, 43][..])
        );
        let without = "a=http://b:1".parse::<Target>().unwrap();
        assert!(without.server_pids.is_empty());
        assert!("http://b:1".parse::<Target>().is_err());
        assert!("a=http://b:1,x".parse::<Target>().is_err());
    }
}
