//! The connection, and the user of its requests.

use std::{io, time::Duration};

use etcd_proto::etcdserverpb::{
    AuthenticateRequest, auth_client::AuthClient, cluster_client::ClusterClient,
    kv_client::KvClient, lease_client::LeaseClient, maintenance_client::MaintenanceClient,
    watch_client::WatchClient,
};
use hyper_util::rt::TokioIo;
use operator_proto::operator_client::OperatorClient;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use super::{EndpointUrl, RemoteError, RemoteTls, TlsFiles, error::innermost};
use crate::address::ListenSocket;

/// A connection, TLS included, is made within this time, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval of pings to the server while a call is open, and the longest wait for the answer.
/// gRPC's servers in Go close a connection that pings more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that may be under way.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// The largest answer that is taken, in bytes. Pages are much smaller, unless the values are.
pub const MAX_MESSAGE_BYTES: usize = 512 * 1024 * 1024;

/// The token that is sent with every request, if there is one.
#[derive(Clone, Default)]
pub struct Token(Option<AsciiMetadataValue>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

type Link = InterceptedService<Channel, Token>;

/// Name and password of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub name: String,
    pub password: String,
}

#[derive(Clone)]
pub struct Remote {
    pub url: EndpointUrl,
    pub kv: KvClient<Link>,
    pub lease: LeaseClient<Link>,
    pub maintenance: MaintenanceClient<Link>,
    pub watch: WatchClient<Link>,
    pub operator: OperatorClient<Link>,
    pub cluster: ClusterClient<Link>,
}

impl Remote {
    pub async fn connect(
        url: &EndpointUrl,
        files: &TlsFiles,
        login: Option<&Login>,
    ) -> Result<Self, RemoteError> {
        let tls = tls_for(url, files)?;
        let channel = dial(url, tls).await?;
        let token = match login {
            Some(login) => sign_in(url, channel.clone(), login).await?,
            None => Token::default(),
        };
        let link = InterceptedService::new(channel, token);
        Ok(Self {
            url: url.clone(),
            kv: KvClient::new(link.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            lease: LeaseClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            maintenance: MaintenanceClient::new(link.clone()),
            operator: OperatorClient::new(link.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            cluster: ClusterClient::new(link.clone()),
            watch: WatchClient::new(link).max_decoding_message_size(MAX_MESSAGE_BYTES),
        })
    }

    /// The error of a call to this server.
    pub fn failed(&self, status: &Status) -> RemoteError {
        RemoteError::of_call(&self.url, status)
    }
}

fn tls_for(url: &EndpointUrl, files: &TlsFiles) -> Result<Option<RemoteTls>, RemoteError> {
    if !url.is_tls() {
        return match files == &TlsFiles::default() {
            true => Ok(None),
            false => Err(RemoteError::NotWithTls(
                url.clone(),
                "flags of TLS were given",
            )),
        };
    }
    let loaded = RemoteTls::load(files);
    loaded.map(Some).map_err(|source| RemoteError::Tls {
        url: url.clone(),
        source,
    })
}

async fn dial(url: &EndpointUrl, tls: Option<RemoteTls>) -> Result<Channel, RemoteError> {
    let unreachable = |reason| RemoteError::Unreachable {
        url: url.clone(),
        reason,
    };
    let endpoint = Endpoint::from_shared(format!("http://{}", url.authority()))
        .map_err(|error| unreachable(innermost(&error)))?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let to = url.clone();
    let connector = service_fn(move |_: Uri| {
        let (to, tls) = (to.clone(), tls.clone());
        async move { Ok::<_, io::Error>(TokioIo::new(connect(&to, tls.as_ref()).await?)) }
    });
    let connecting = endpoint.connect_with_connector(connector);
    connecting
        .await
        .map_err(|error| unreachable(innermost(&error)))
}

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

async fn connect(url: &EndpointUrl, tls: Option<&RemoteTls>) -> io::Result<Box<dyn ByteStream>> {
    let stream: Box<dyn ByteStream> = match url.socket() {
        ListenSocket::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        ListenSocket::Unix(path) => Box::new(UnixStream::connect(path).await?),
    };
    Ok(match tls {
        None => stream,
        Some(tls) => Box::new(tls.connect(url.host(), stream).await?),
    })
}

async fn sign_in(url: &EndpointUrl, channel: Channel, login: &Login) -> Result<Token, RemoteError> {
    let request = AuthenticateRequest {
        name: login.name.clone(),
        password: login.password.clone(),
    };
    let answer = AuthClient::new(channel).authenticate(request).await;
    let answer = answer.map_err(|status| RemoteError::of_call(url, &status))?;
    let token = answer.into_inner().token.parse();
    let token = token.map_err(|_| RemoteError::Refused {
        url: url.clone(),
        reason: "its token cannot be sent".to_owned(),
    })?;
    Ok(Token(Some(token)))
}
