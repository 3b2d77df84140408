//! The status page: one HTML document without anything from elsewhere, and the JSON that it asks for every
//! two seconds. Read-only.

mod document;

use std::sync::LazyLock;

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{HeaderName, header},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use openssl::sha::sha256;

use super::{headers::only_get, metrics::Sources, query::Query};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The places in the page where style and script are put.
const STYLE_MARK: &str = "/* page.css */";
const SCRIPT_MARK: &str = "/* page.js */";

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let frame = include_str!("page.html");
    frame
        .replace(STYLE_MARK, STYLE)
        .replace(SCRIPT_MARK, SCRIPT)
});

/// The content security policy: only what is in the page runs or is shown, and it asks only this
/// server.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(sha256(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
});

pub(super) fn routes(sources: Sources) -> Router {
    Router::new()
        .route("/", any(page))
        .route("/status.json", any(status))
        .route_layer(from_fn(only_get))
        .with_state(sources)
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
    ];
    (headers, guards(), PAGE.as_str()).into_response()
}

/// `since`: the points after this time, in milliseconds since 1970.
async fn status(State(sources): State<Sources>, RawQuery(query): RawQuery) -> Response {
    let query = Query::new(query);
    let since_ms = query.first("since").and_then(|since| since.parse().ok());
    let document = document::write(&sources, since_ms.unwrap_or(0)).await;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, guards(), document.to_string()).into_response()
}

fn guards() -> [(HeaderName, &'static str); 3] {
    [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_its_parts_and_nothing_from_elsewhere() {
        let page = PAGE.as_str();
        for mark in [STYLE_MARK, SCRIPT_MARK] {
            assert!(!page.contains(mark), "{mark}");
        }
        assert!(page.contains(STYLE.trim()) && page.contains(SCRIPT.trim()));
        // The policy would stop these; a namespace is no address.
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        for foreign in [
            "http:",
            "https:",
            " src=",
            "@import",
            "url(",
            " style=",
            " onclick=",
        ] {
            assert!(!elsewhere.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn all_that_the_script_plots_is_in_the_document() {
        let names = SCRIPT.split('"').filter(|text| {
            let units = ["_per_s", "_ms", "_bytes", "_revisions", "_requests"];
            let is_name = text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            is_name && units.iter().any(|unit| text.ends_with(unit))
        });
        let mut count = 0;
        for name in names {
            assert!(crate::monitoring::Point::NAMES.contains(&name), "{name}");
            count += 1;
        }
        assert!(count > 15, "{count}");
    }
}
