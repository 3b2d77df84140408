//! The headers of every answer, and the checks of every request.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::text;
use crate::api::Peer;

/// The web pages that may use the API, and the names of the server that their browsers may have asked for: etcd's
/// `--cors` and `--host-whitelist` (client/pkg `cors`, server/embed/serve.go `accessController`).
#[derive(Debug, Clone)]
pub struct WebRules {
    origins: Names,
    /// Not asked for with TLS, where the certificate says who the server is.
    hosts: Names,
    /// Any IP address is a host then: nobody can point it elsewhere, as a name.
    takes_addresses: bool,
}

#[derive(Debug, Clone)]
enum Names {
    All,
    Of(Arc<HashSet<String>>),
}

impl WebRules {
    /// `*` among the names stands for all.
    pub fn new(origins: Vec<String>, hosts: Vec<String>) -> Self {
        Self {
            origins: Names::new(origins),
            hosts: Names::new(hosts),
            takes_addresses: false,
        }
    }

    /// Rules for what only this machine, or whoever knows the address of the listener, may use: no page of another
    /// origin, under no name that an attacker may have pointed here.
    pub fn own_only(host: Option<&str>) -> Self {
        let loopback = ["localhost", "127.0.0.1", "::1"].into_iter();
        let hosts: Vec<String> = loopback.chain(host).map(str::to_owned).collect();
        let origins = hosts.iter().flat_map(|host| {
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            ["http://", "https://"].map(|scheme| format!("{scheme}{host}"))
        });
        Self {
            origins: Names::new(origins.collect()),
            hosts: Names::new(hosts),
            takes_addresses: true,
        }
    }

    fn has_host(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        self.hosts.has(host) || (self.takes_addresses && address.parse::<IpAddr>().is_ok())
    }
}

impl Names {
    fn new(names: Vec<String>) -> Self {
        match names.iter().any(|name| name == "*") {
            true => Self::All,
            false => Self::Of(Arc::new(names.into_iter().collect())),
        }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(names) => names.contains(name),
        }
    }
}

/// The name in the `Host` header, or in the request line of HTTP/2, without a port.
fn host(request: &Request) -> &str {
    let header = request.headers().get(header::HOST);
    let named = header.and_then(|host| host.to_str().ok());
    let named = named.or_else(|| {
        request
            .uri()
            .authority()
            .map(|authority| authority.as_str())
    });
    without_port(named.unwrap_or_default())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // Not inside of the brackets of an IPv6 address.
        Some((name, port)) if !port.contains(']') => {
            name.trim_start_matches('[').trim_end_matches(']')
        }
        _ => host,
    }
}

/// An origin without its port: pages of other ports of a host are of whoever has that host.
fn without_own_port(origin: &str) -> &str {
    match origin.rsplit_once(':') {
        Some((scheme_and_host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
            scheme_and_host
        }
        _ => origin,
    }
}

/// Holds a request against the rules, tells the browser what its page may do, and answers what it asks beforehand.
pub(super) async fn check_web(
    State(rules): State<WebRules>,
    request: Request,
    next: Next,
) -> Response {
    let is_tls = request.extensions().get().is_some_and(Peer::is_tls);
    if !is_tls && !rules.has_host(host(&request)) {
        let told = format!(
            "the Host header names {:?}, which is none of --host-whitelist: a page may have pointed that name here \
             (DNS rebinding, CVE-2018-5702)\n",
            host(&request)
        );
        return text(StatusCode::MISDIRECTED_REQUEST, told);
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = match (&rules.origins, &origin) {
        (Names::All, _) => Some(HeaderValue::from_static("*")),
        (Names::Of(_), None) => None,
        (names, Some(origin)) => {
            let named = origin.to_str().unwrap_or_default();
            if !names.has(named) && !names.has(without_own_port(named)) {
                let told = format!("the page is of {named:?}, which is none of --cors\n");
                return text(StatusCode::FORBIDDEN, told);
            }
            Some(origin.clone())
        }
    };
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        next.run(request).await
    };
    if let Some(allowed) = allowed {
        add_permissions(response.headers_mut(), allowed);
    }
    response
}

fn add_permissions(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "POST, GET, OPTIONS, PUT, DELETE",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "accept, content-type, authorization",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Refuses other methods than GET; HEAD too, as etcd does.
pub(super) async fn only_get(request: Request, next: Next) -> Response {
    if request.method() == Method::GET {
        return next.run(request).await;
    }
    let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    ([(header::ALLOW, "GET")], refusal).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_ports() {
        for (host, name) in [
            ("etcd:2379", "etcd"),
            ("etcd", "etcd"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:2379", "::1"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(host), name);
        }
        assert_eq!(without_own_port("http://a:80"), "http://a");
        assert_eq!(without_own_port("https://a"), "https://a");
    }

    #[test]
    fn own_names_are_those_of_this_machine_and_of_the_listener() {
        let rules = WebRules::own_only(Some("10.0.0.1"));
        for host in ["localhost", "127.0.0.1", "::1", "10.0.0.1"] {
            assert!(rules.hosts.has(host));
        }
        assert!(rules.origins.has("http://localhost") && rules.origins.has("http://[::1]"));
        // A browser that asks an address was not sent there by a name; another page says its origin.
        assert!(rules.has_host("10.0.0.2") && rules.has_host("[fe80::1]"));
        assert!(!rules.origins.has("http://10.0.0.2"));
        assert!(!WebRules::new(Vec::new(), Vec::new()).has_host("10.0.0.2"));
        assert!(!rules.has_host("attacker.example") && !rules.origins.has("null"));
    }
}
