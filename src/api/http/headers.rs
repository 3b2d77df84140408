//! The headers of every answer, and the checks of every request.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::text;

/// Lets web pages of all origins use the API, which is etcd's default (`--cors=*`), and answers the
/// preflight requests of their browsers.
pub(super) async fn allow_any_origin(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        next.run(request).await
    };
    add_permissions(response.headers_mut());
    response
}

fn add_permissions(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
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
