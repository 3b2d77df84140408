//! The endpoint of `--profiling`: the paths of Go's net/http/pprof, and the level of the log.

use std::{os::unix::ffi::OsStrExt, time::Duration};

use axum::{
    Router,
    extract::RawQuery,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use tokio::{task::spawn_blocking, time::sleep};

use super::{CpuProfile, heap, pprof::Profile};
use crate::logging;

/// Go's.
const DEFAULT_SECONDS: u64 = 30;

/// The longest profile, in seconds: a longer one would not show one moment.
const MAX_SECONDS: u64 = 600;

/// The time, beyond the requested duration, after which a recording ends by itself.
const SLACK: Duration = Duration::from_secs(10);

const INDEX: &str = r#"<!DOCTYPE html>
<html lang="en"><title>k8s-dqlite: profiles</title>
<h1>Profiles</h1>
<ul>
<li><a href="profile?seconds=30">profile</a>: processor time of the next <code>?seconds=30</code>
<li><a href="heap">heap</a>: memory in use
<li><a href="allocs">allocs</a>: all memory that was ever allocated
<li><a href="cmdline">cmdline</a>: the command line of the server
</ul>
<p>Open them with <code>go tool pprof</code>, or in speedscope. With <code>?format=folded</code> they are
folded stacks.
</html>
"#;

pub fn routes() -> Router {
    Router::new()
        .route("/debug/pprof", get(async || Html(INDEX)))
        .route("/debug/pprof/", get(async || Html(INDEX)))
        .route("/debug/pprof/cmdline", get(command_line))
        .route("/debug/pprof/profile", get(profile))
        .route(
            "/debug/pprof/heap",
            get(async |query| memory("heap", "inuse_space", query).await),
        )
        .route(
            "/debug/pprof/allocs",
            get(async |query| memory("allocs", "alloc_space", query).await),
        )
        .route("/debug/log-level", get(level).put(set_level))
}

/// Separated by NUL, as Go does.
async fn command_line() -> Response {
    let arguments: Vec<_> = std::env::args_os().collect();
    let parts: Vec<_> = arguments.iter().map(|part| part.as_bytes()).collect();
    text(StatusCode::OK, parts.join(&0))
}

async fn profile(RawQuery(query): RawQuery) -> Response {
    let (seconds, is_folded) = match (seconds(query.as_deref()), is_folded(query.as_deref())) {
        (Ok(seconds), Ok(is_folded)) => (seconds, is_folded),
        (Err(wrong), _) | (_, Err(wrong)) => return text(StatusCode::BAD_REQUEST, wrong),
    };
    let duration = Duration::from_secs(seconds);
    // Given up when the client leaves, and after its time in any case.
    let mut recording = match CpuProfile::start(duration + SLACK) {
        Ok(recording) => recording,
        Err(error) => {
            let text_of = format!("Could not enable CPU profiling: {error}\n");
            return text(StatusCode::INTERNAL_SERVER_ERROR, text_of);
        }
    };
    sleep(duration).await;
    let encoded = spawn_blocking(move || encode(&recording.finish(), is_folded)).await;
    answer("profile", is_folded, encoded.expect("it does not panic"))
}

async fn memory(
    name: &'static str,
    default_kind: &'static str,
    RawQuery(query): RawQuery,
) -> Response {
    let is_folded = match is_folded(query.as_deref()) {
        Ok(is_folded) => is_folded,
        Err(wrong) => return text(StatusCode::BAD_REQUEST, wrong),
    };
    let encoded = spawn_blocking(move || {
        heap::profile(default_kind).map(|profile| encode(&profile, is_folded))
    });
    match encoded.await.expect("it does not panic") {
        Some(encoded) => answer(name, is_folded, encoded),
        None => text(StatusCode::NOT_FOUND, "memory is not observed\n"),
    }
}

fn encode(profile: &Profile, is_folded: bool) -> Vec<u8> {
    let encoded = match is_folded {
        true => profile.to_folded().into_bytes(),
        false => profile.to_pprof(),
    };
    // Names take memory, which is of no use until the next profile.
    backtrace::clear_symbol_cache();
    encoded
}

fn answer(name: &str, is_folded: bool, body: Vec<u8>) -> Response {
    if is_folded {
        return text(StatusCode::OK, body);
    }
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    (headers, body).into_response()
}

async fn level() -> Response {
    text(StatusCode::OK, format!("{}\n", logging::level()))
}

async fn set_level(body: String) -> Response {
    match logging::set_level(body.trim()) {
        Ok(()) => level().await,
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Vec<u8>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body.into()).into_response()
}

fn seconds(query: Option<&str>) -> Result<u64, String> {
    match parameter(query, "seconds") {
        None | Some("") => Ok(DEFAULT_SECONDS),
        Some(text) => match text.parse() {
            Ok(seconds @ 1..=MAX_SECONDS) => Ok(seconds),
            _ => Err(format!("seconds must be from 1 to {MAX_SECONDS}\n")),
        },
    }
}

fn is_folded(query: Option<&str>) -> Result<bool, String> {
    match parameter(query, "format") {
        None | Some("pprof") => Ok(false),
        Some("folded" | "collapsed") => Ok(true),
        Some(_) => Err("format must be pprof or folded\n".to_owned()),
    }
}

fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query?.split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_a_bounded_length() {
        assert_eq!(seconds(None), Ok(30));
        assert_eq!(seconds(Some("seconds=5&debug=0")), Ok(5));
        for wrong in ["seconds=0", "seconds=601", "seconds=-1", "seconds=x"] {
            assert!(seconds(Some(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(is_folded(Some("seconds=5&format=folded")), Ok(true));
        assert_eq!(is_folded(Some("format=pprof")), Ok(false));
        assert!(is_folded(Some("format=svg")).is_err());
    }
}
