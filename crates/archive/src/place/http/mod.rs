//! HTTP/1.1 for the crate object_store, by hyper and OpenSSL.
//!
//! The crate decides what is sent and repeats what may be repeated, within [`crate::place`]'s bounds. This decides how long an answer may
//! take, and makes errors of answers that say more by their content than by their status.

mod fault;
mod link;
mod patience;
mod refusal;
mod tls;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error as ClientError},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService},
};

pub use self::{
    fault::{Fault, innermost, within},
    refusal::Refusal,
    tls::TlsFault,
};
use self::{link::Connector, patience::Watched, tls::Tls};

/// The longest wait for the next sign of life of a server: to take more of a request, to begin its answer, to send
/// more of it. A line that carries less than 70 KB/s may be given up too early: up to 4 MiB may wait in the system's buffers.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that are kept for the next request: deltas go one after the other, and a base beside them.
const MAX_IDLE: usize = 4;

/// The time for which they are kept: longer than the interval between two deltas.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes clients that trust the same authorities.
#[derive(Debug, Clone)]
pub struct Http {
    tls: Tls,
    silence: Duration,
}

impl Http {
    /// Trusts the authorities in a file, or those of the system.
    pub fn new(authorities: Option<&Path>) -> Result<Self, TlsFault> {
        Ok(Self {
            tls: Tls::load(authorities)?,
            silence: SILENCE_TIMEOUT,
        })
    }

    /// Gives up earlier, so that a test is shorter.
    pub fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }
}

impl HttpConnector for Http {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(Connector::new(self.tls.clone()));
        Ok(HttpClient::new(Service {
            client,
            allows_plain: allowed.as_deref() == Some("true"),
            silence: self.silence,
        }))
    }
}

#[derive(Debug)]
struct Service {
    client: Client<Connector, Watched>,
    allows_plain: bool,
    silence: Duration,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host: Arc<str> = request.uri().host().unwrap_or_default().into();
        if request.uri().scheme_str() != Some("https") && !self.allows_plain {
            return Err(Fault::Plain { host }.into());
        }
        let (body, progress) = patience::watch(request.body().clone());
        let asked = self.client.request(request.map(|_| body));
        let answered = progress.within(self.silence, asked).await;
        let answered = answered.ok_or_else(|| self.silent(&host))?;
        let answer = answered.map_err(|error| of_client(&host, &error))?;
        refusal::check(&host, self.bounded(&host, answer)).await
    }
}

impl Service {
    fn silent(&self, host: &Arc<str>) -> Fault {
        Fault::Silent {
            host: Arc::clone(host),
            seconds: self.silence.as_secs(),
        }
    }

    fn bounded(&self, host: &Arc<str>, answer: http::Response<Incoming>) -> HttpResponse {
        answer.map(|body| patience::bound(body, Arc::clone(host), self.silence))
    }
}

/// Names what went wrong with a connection. A connection that broke may have carried the request.
fn of_client(host: &Arc<str>, error: &ClientError) -> Fault {
    let host = Arc::clone(host);
    match fault::within(error) {
        Some(link::LinkError::Tls(reason)) => Fault::Tls {
            host,
            reason: reason.clone(),
        },
        Some(error) => Fault::Connect {
            host,
            reason: error.to_string(),
        },
        None => Fault::Broken {
            host,
            reason: fault::innermost(error),
        },
    }
}
