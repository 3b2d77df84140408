//! From a URL to an object store, with the bounds of its requests.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::GoogleCloudStorageBuilder,
};

use super::{
    PlaceError, credentials,
    crypto::OpenSsl,
    directory::Directory,
    http::Http,
    url::{BucketUrl, PlaceUrl, Service, Style},
};
use crate::secret_file;

/// The repetitions of a request, for how long, and their pauses. Whoever waits for an archive
/// asks again later by itself; this is for a server that restarts.
const MAX_RETRIES: usize = 6;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The settings that a URL does not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaceOptions {
    /// The credentials, instead of those of the environment and of the machine.
    pub credentials_file: Option<PathBuf>,
    /// Certificates of authorities, instead of those of the system.
    pub trusted_ca_file: Option<PathBuf>,
    /// The keys that objects are sealed with; without it they are not sealed.
    pub key_file: Option<PathBuf>,
    /// The longest silence of a server, if not 60 s.
    pub silence: Option<Duration>,
}

/// An object store, and the host that it is at, if it is one of the network.
pub struct Opened {
    pub store: Arc<dyn ObjectStore>,
    pub host: Option<String>,
}

pub fn open(url: &PlaceUrl, options: &PlaceOptions) -> Result<Opened, PlaceError> {
    let bucket = match url {
        PlaceUrl::Directory(path) => {
            return Ok(Opened {
                store: Arc::new(Directory::new(path)),
                host: None,
            });
        }
        PlaceUrl::Bucket(bucket) => bucket,
    };
    let mut http = Http::new(options.trusted_ca_file.as_deref())?;
    if let Some(silence) = options.silence {
        http = http.with_silence(silence);
    }
    let unusable = |reason: String| PlaceError::Credentials {
        place: url.to_string(),
        reason,
    };
    match bucket.service {
        Service::S3 => s3(bucket, options, http, unusable),
        Service::Gcs => gcs(bucket, options, http, unusable),
        Service::Azure => azure(bucket, options, http, unusable),
    }
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: FIRST_PAUSE,
            max_backoff: LONGEST_PAUSE,
            base: 2.,
        },
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}

fn host_of(endpoint: &str) -> Option<String> {
    let url = url::Url::parse(endpoint).ok()?;
    url.host_str().map(str::to_owned)
}

fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

fn s3(
    bucket: &BucketUrl,
    options: &PlaceOptions,
    http: Http,
    unusable: impl Fn(String) -> PlaceError,
) -> Result<Opened, PlaceError> {
    use AmazonS3ConfigKey as Key;
    let is_known = |name: &str| {
        let key = Key::from_str(name);
        matches!(
            key,
            Ok(Key::AccessKeyId | Key::SecretAccessKey | Key::Token)
        )
    };
    let mut builder = match &options.credentials_file {
        None => AmazonS3Builder::from_env(),
        Some(path) => configured(
            AmazonS3Builder::new(),
            credentials::read(path, is_known)?,
            AmazonS3Builder::with_config,
        ),
    };
    if let Some(region) = &bucket.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &bucket.endpoint {
        let endpoint = match bucket.style {
            Style::Path => endpoint.clone(),
            Style::VirtualHost => endpoint.replacen("://", &format!("://{}.", bucket.bucket), 1),
        };
        // Whatever the environment says of another one.
        builder = builder
            .with_config(Key::S3Endpoint, &endpoint)
            .with_allow_http(is_plain(&endpoint));
    }
    let endpoint = [Key::S3Endpoint, Key::Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key));
    let host = endpoint.and_then(|endpoint| host_of(&endpoint));
    let region = builder.get_config_value(&Key::Region);
    let amazon = || {
        format!(
            "s3.{}.amazonaws.com",
            region.as_deref().unwrap_or("us-east-1")
        )
    };
    let store = builder
        .with_bucket_name(&bucket.bucket)
        .with_virtual_hosted_style_request(bucket.style == Style::VirtualHost)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retries())
        .with_http_connector(http)
        .with_crypto_provider(Arc::new(OpenSsl))
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(Opened {
        store: Arc::new(store),
        host: Some(host.unwrap_or_else(amazon)),
    })
}

/// Gives a builder the settings of a file, of which all names are known.
fn configured<B, K: FromStr>(
    builder: B,
    settings: Vec<credentials::Setting>,
    with: impl Fn(B, K, String) -> B,
) -> B {
    settings
        .into_iter()
        .fold(builder, |builder, (name, value)| match K::from_str(&name) {
            Ok(key) => with(builder, key, value),
            Err(_) => builder,
        })
}

/// The text in place of what the crate says of a document, which may repeat parts of it.
const UNUSABLE: &str = "what the environment or the file holds is incomplete, or not of the form that this service has";

fn gcs(
    bucket: &BucketUrl,
    options: &PlaceOptions,
    http: Http,
    unusable: impl Fn(String) -> PlaceError,
) -> Result<Opened, PlaceError> {
    let mut builder = match &options.credentials_file {
        None => GoogleCloudStorageBuilder::from_env(),
        Some(path) => {
            secret_file::read(path)?;
            let path = path.to_string_lossy();
            GoogleCloudStorageBuilder::new().with_application_credentials(path)
        }
    };
    let mut host = "storage.googleapis.com".to_owned();
    if let Some(endpoint) = &bucket.endpoint {
        let plain = object_store::ClientOptions::new().with_allow_http(is_plain(endpoint));
        builder = builder.with_base_url(endpoint).with_client_options(plain);
        host = host_of(endpoint).unwrap_or(host);
    }
    let store = builder
        .with_bucket_name(&bucket.bucket)
        .with_retry(retries())
        .with_http_connector(http)
        .with_crypto_provider(Arc::new(OpenSsl))
        .build()
        .map_err(|_| unusable(UNUSABLE.to_owned()))?;
    Ok(Opened {
        store: Arc::new(store),
        host: Some(host),
    })
}

fn azure(
    bucket: &BucketUrl,
    options: &PlaceOptions,
    http: Http,
    unusable: impl Fn(String) -> PlaceError,
) -> Result<Opened, PlaceError> {
    use AzureConfigKey as Key;
    let is_known = |name: &str| {
        let key = Key::from_str(name);
        let is_secret = matches!(key, Ok(Key::AccessKey | Key::SasKey | Key::ClientSecret));
        is_secret || matches!(key, Ok(Key::AccountName | Key::ClientId | Key::AuthorityId))
    };
    let mut builder = match &options.credentials_file {
        None => MicrosoftAzureBuilder::from_env(),
        Some(path) => configured(
            MicrosoftAzureBuilder::new(),
            credentials::read(path, is_known)?,
            MicrosoftAzureBuilder::with_config,
        ),
    };
    if let Some(account) = &bucket.account {
        builder = builder.with_account(account);
    }
    let account = builder.get_config_value(&Key::AccountName);
    let account = account
        .ok_or_else(|| unusable("there is no account: name it in the URL, ?account=".to_owned()))?;
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder
            .with_allow_http(is_plain(endpoint))
            .with_endpoint(endpoint.clone());
    }
    let endpoint = builder.get_config_value(&Key::Endpoint);
    let host = endpoint.and_then(|endpoint| host_of(&endpoint));
    let store = builder
        .with_container_name(&bucket.bucket)
        .with_retry(retries())
        .with_http_connector(http)
        .with_crypto_provider(Arc::new(OpenSsl))
        .build()
        .map_err(|_| unusable(UNUSABLE.to_owned()))?;
    Ok(Opened {
        store: Arc::new(store),
        host: Some(host.unwrap_or_else(|| format!("{account}.blob.core.windows.net"))),
    })
}
