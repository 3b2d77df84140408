//! Flags that are accepted for the sake of existing argument files, and do nothing.

use clap::{ArgMatches, parser::ValueSource};

const NO_POOL: &str = "has no effect: one connection writes, and reads come from memory";

/// The names that clap knows them by, and why.
const WITHOUT_EFFECT: [(&str, &str); 6] = [
    (
        "disk_mode",
        "has no effect: dqlite has no disk mode any more",
    ),
    ("datastore_max_idle_connections", NO_POOL),
    ("datastore_max_open_connections", NO_POOL),
    ("datastore_connection_max_lifetime", NO_POOL),
    ("datastore_connection_max_idle_time", NO_POOL),
    (
        "watch_query_timeout",
        "has no effect: watches are fed by commits, not by polling",
    ),
];

pub(super) fn on(matches: &ArgMatches) -> Vec<String> {
    let is_given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    let flag = |id: &str| format!("--{}", id.replace('_', "-"));
    let without_effect = WITHOUT_EFFECT.iter().filter(|(id, _)| is_given(id));
    let mut remarks: Vec<String> = without_effect
        .map(|(id, why)| format!("{} {why}", flag(id)))
        .collect();
    if is_given("profiling_dir") && !matches.get_flag("profiling") {
        remarks.push("--profiling-dir has no effect without --profiling".to_owned());
    }
    if matches.get_flag("metrics_top") && !matches.get_flag("metrics") {
        remarks.push("--metrics-top has no effect without --metrics".to_owned());
    }
    if matches
        .get_one("tls_client_session_cache_size")
        .is_some_and(|size: &u64| *size > 0)
    {
        let flag = flag("tls_client_session_cache_size");
        remarks.push(format!(
            "{flag} is not available in this version: sessions are not resumed"
        ));
    }
    if matches.get_flag("otel") && is_given("otel_dir") && is_given("otel_listen") {
        remarks.push("only one otel exporter allowed, ignoring otel endpoint.".to_owned());
    }
    if matches.get_flag("debug") {
        remarks.push("--debug is deprecated: use --log-level=debug".to_owned());
    }
    remarks
}

/// Returns the names of the flags that never have an effect.
#[cfg(test)]
pub(super) fn without_effect() -> impl Iterator<Item = &'static str> {
    WITHOUT_EFFECT.iter().map(|(id, _)| *id)
}
