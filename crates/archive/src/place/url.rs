//! The URL of a place. Pure.
//!
//! | URL | Means |
//! |---|---|
//! | `file:///DIRECTORY` | a directory of this machine, or one that is mounted |
//! | `s3://BUCKET/PREFIX` | Amazon S3, or with `endpoint` another server that speaks its protocol |
//! | `gs://BUCKET/PREFIX` | Google Cloud Storage |
//! | `az://CONTAINER/PREFIX` | Azure Blob Storage |
//!
//! | Parameter | Of | Means |
//! |---|---|---|
//! | `endpoint` | s3, gs, az | the server, `https://HOST:PORT` |
//! | `region` | s3 | the region that requests are signed for |
//! | `style` | s3 | `path` (default): the bucket is in the path; `virtual`: in the host's name |
//! | `account` | az | the storage account |
//!
//! There is no parameter for a secret, and a user before the host is refused: other users of the machine see the command line.

use std::{fmt, path::PathBuf, str::FromStr};

use url::{Host, Url};

/// Bytes of a URL.
const MAX_BYTES: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceUrl {
    Directory(PathBuf),
    Bucket(BucketUrl),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    pub service: Service,
    pub bucket: String,
    /// Segments between slashes, without one at either end; empty for the whole bucket.
    pub prefix: String,
    /// Scheme, host and port of the server, if it is not the service's own.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub style: Style,
    pub account: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    S3,
    Gcs,
    Azure,
}

/// The place of the bucket in the URL of a request to S3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Path,
    VirtualHost,
}

impl Service {
    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }

    fn takes(self, parameter: &str) -> bool {
        match parameter {
            "endpoint" => true,
            "region" | "style" => self == Self::S3,
            "account" => self == Self::Azure,
            _ => false,
        }
    }
}

/// The reason why a text is not the URL of a place. It repeats nothing of it, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error(
        "it is none of file:///DIRECTORY, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX and az://CONTAINER/PREFIX"
    )]
    NoUrl,
    #[error(
        "credentials do not belong in it, where others can see them: name a file, or set the environment"
    )]
    Secret,
    #[error("a directory is file:///DIRECTORY, with three slashes and nothing behind it")]
    Directory,
    #[error("it names no bucket")]
    NoBucket,
    #[error(
        "its path has an empty segment, one that begins with a dot, or other characters than letters, digits, '.', '_' and '-'"
    )]
    Prefix,
    #[error(
        "it has a parameter that means nothing here; there are endpoint, for s3 region and style, for az account"
    )]
    Parameter,
    #[error("its parameter style is neither path nor virtual")]
    Style,
    #[error("its endpoint is not https://HOST or https://HOST:PORT, nor http:// for s3")]
    Endpoint,
    #[error("its endpoint is without TLS, so tokens would be seen: that is for this machine alone")]
    Plain,
}

impl FromStr for PlaceUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_BYTES {
            return Err(UrlError::NoUrl);
        }
        let url = Url::parse(text).map_err(|_| UrlError::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Secret);
        }
        let service = match url.scheme() {
            "file" => return directory(text, &url).map(Self::Directory),
            "s3" => Service::S3,
            "gs" => Service::Gcs,
            "az" => Service::Azure,
            _ => return Err(UrlError::NoUrl),
        };
        bucket(service, &url).map(Self::Bucket)
    }
}

fn directory(text: &str, url: &Url) -> Result<PathBuf, UrlError> {
    let is_plain = url.query().is_none() && url.fragment().is_none();
    match text.starts_with("file:///") && is_plain {
        true => url.to_file_path().map_err(|()| UrlError::Directory),
        false => Err(UrlError::Directory),
    }
}

fn bucket(service: Service, url: &Url) -> Result<BucketUrl, UrlError> {
    let bucket = url.host_str().filter(|host| is_plain(host));
    if bucket.is_none() || url.port().is_some() || url.fragment().is_some() {
        return Err(UrlError::NoBucket);
    }
    let mut found = BucketUrl {
        service,
        bucket: bucket.unwrap_or_default().to_owned(),
        prefix: prefix(url.path())?,
        endpoint: None,
        region: None,
        style: Style::default(),
        account: None,
    };
    for (name, value) in url.query_pairs() {
        if !service.takes(&name) {
            return Err(UrlError::Parameter);
        }
        match &*name {
            "endpoint" => found.endpoint = Some(endpoint(service, &value)?),
            "region" => found.region = Some(plain(&value)?),
            "account" => found.account = Some(plain(&value)?),
            _ => found.style = style(&value)?,
        }
    }
    Ok(found)
}

fn style(value: &str) -> Result<Style, UrlError> {
    match value {
        "path" => Ok(Style::Path),
        "virtual" => Ok(Style::VirtualHost),
        _ => Err(UrlError::Style),
    }
}

fn is_plain(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

fn plain(value: &str) -> Result<String, UrlError> {
    match is_plain(value) {
        true => Ok(value.to_owned()),
        false => Err(UrlError::Parameter),
    }
}

fn prefix(path: &str) -> Result<String, UrlError> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_segment = |segment: &str| is_plain(segment) && !segment.starts_with('.');
    match path.is_empty() || path.split('/').all(is_segment) {
        true => Ok(path.to_owned()),
        false => Err(UrlError::Prefix),
    }
}

fn endpoint(service: Service, value: &str) -> Result<String, UrlError> {
    let url = Url::parse(value).map_err(|_| UrlError::Endpoint)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Secret);
    }
    let host = url.host().ok_or(UrlError::Endpoint)?;
    match (url.scheme(), url.path(), url.query(), url.fragment()) {
        ("https", "/", None, None) => {}
        // S3's requests are signed; others carry a token.
        ("http", "/", None, None) if service == Service::S3 || is_here(&host) => {}
        ("http", "/", None, None) => return Err(UrlError::Plain),
        _ => return Err(UrlError::Endpoint),
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn is_here(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Shows where it is, without what is needed to get there.
impl fmt::Display for PlaceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = match self {
            Self::Directory(path) => return write!(f, "file://{}", path.display()),
            Self::Bucket(bucket) => bucket,
        };
        write!(f, "{}://{}", bucket.service.scheme(), bucket.bucket)?;
        if !bucket.prefix.is_empty() {
            write!(f, "/{}", bucket.prefix)?;
        }
        match &bucket.endpoint {
            Some(endpoint) => write!(f, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<PlaceUrl, UrlError> {
        text.parse()
    }

    fn bucket_of(text: &str) -> BucketUrl {
        match parsed(text) {
            Ok(PlaceUrl::Bucket(bucket)) => bucket,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_directory_is_absolute() {
        let path = |text| match parsed(text) {
            Ok(PlaceUrl::Directory(path)) => path,
            other => panic!("{other:?}"),
        };
        assert_eq!(path("file:///var/archive"), PathBuf::from("/var/archive"));
        assert_eq!(path("file:///with%20space"), PathBuf::from("/with space"));
        for text in [
            "file://var/archive",
            "file:var",
            "file:///a?b=c",
            "file:///a#b",
        ] {
            assert_eq!(parsed(text), Err(UrlError::Directory), "{text}");
        }
    }

    #[test]
    fn a_bucket_has_a_prefix_and_parameters() {
        let text = "s3://b/some/prefix/?endpoint=https://s3.example:9000&region=eu-1&style=virtual";
        let found = bucket_of(text);
        assert_eq!((&*found.bucket, &*found.prefix), ("b", "some/prefix"));
        assert_eq!(found.endpoint.as_deref(), Some("https://s3.example:9000"));
        assert_eq!(found.region.as_deref(), Some("eu-1"));
        assert_eq!(found.style, Style::VirtualHost);
        assert_eq!(
            PlaceUrl::Bucket(found).to_string(),
            "s3://b/some/prefix at https://s3.example:9000"
        );
        assert_eq!(parsed("gs://b").unwrap().to_string(), "gs://b");
        let account = bucket_of("az://c/p?account=me").account;
        assert_eq!(account.as_deref(), Some("me"));
        let plain = bucket_of("s3://b?endpoint=http://10.0.0.1:9000/");
        assert_eq!(plain.endpoint.as_deref(), Some("http://10.0.0.1:9000"));
        assert_eq!(plain.style, Style::Path);
    }

    #[test]
    fn what_is_no_place_is_refused_by_its_reason() {
        for (text, error) in [
            ("", UrlError::NoUrl),
            ("/var/archive", UrlError::NoUrl),
            ("https://s3.example/b", UrlError::NoUrl),
            ("s3://", UrlError::NoBucket),
            ("s3:///b", UrlError::NoBucket),
            ("s3://b:9000", UrlError::NoBucket),
            ("s3://b/a//b", UrlError::Prefix),
            ("s3://b/.hidden", UrlError::Prefix),
            ("s3://b/a%2Fb", UrlError::Prefix),
            ("s3://b?account=me", UrlError::Parameter),
            ("gs://b?region=eu", UrlError::Parameter),
            ("s3://b?aws_secret_access_key=hush", UrlError::Parameter),
            ("s3://b?style=other", UrlError::Style),
            ("s3://b?endpoint=s3.example", UrlError::Endpoint),
            (
                "s3://b?endpoint=https://s3.example/path",
                UrlError::Endpoint,
            ),
            (
                "s3://b?endpoint=https://key:hush@s3.example",
                UrlError::Secret,
            ),
            ("s3://key:hush@b", UrlError::Secret),
            ("gs://b?endpoint=http://gcs.example", UrlError::Plain),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
            assert!(!error.to_string().contains("hush"));
        }
        assert!(parsed("az://c?account=a&endpoint=http://127.0.0.1:10000").is_ok());
    }
}
