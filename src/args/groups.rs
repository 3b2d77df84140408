//! The flags of the server in groups, for the help and the man page: what most need first, what has no effect last.

use clap::Command;

/// The headings, and the flags under each by the names that clap knows them by, in order.
const GROUPS: [(&str, &[&str]); 8] = [
    (
        "Flags that most need",
        &[
            "storage_dir",
            "listen",
            "enable_tls",
            "metrics",
            "log_level",
            "backup_dir",
            "archive",
        ],
    ),
    (
        "Clients: addresses, TLS and users",
        &[
            "advertise_client_urls",
            "cert_file",
            "key_file",
            "trusted_ca_file",
            "client_cert_auth",
            "client_crl_file",
            "tls_min_version",
            "tls_max_version",
            "auth_token",
            "auth_token_ttl",
            "bcrypt_cost",
            "cors",
            "host_whitelist",
        ],
    ),
    ("Other nodes", &["voters", "stand_bys", "min_tls_version"]),
    (
        "Limits",
        &[
            "quota_backend_bytes",
            "max_request_bytes",
            "max_txn_ops",
            "max_concurrent_streams",
            "watch_progress_notify_interval",
        ],
    ),
    (
        "Disk",
        &[
            "watch_storage_available_size_interval",
            "watch_storage_available_size_min_bytes",
            "low_available_storage_action",
        ],
    ),
    (
        "Backups and archive",
        &[
            "backup_interval",
            "backup_keep",
            "take_over_backup",
            "archive_interval",
            "archive_credentials_file",
            "archive_trusted_ca_file",
            "archive_key_file",
        ],
    ),
    (
        "Logs, metrics, traces and profiles",
        &[
            "log_format",
            "warning_apply_duration",
            "metrics_listen",
            "metrics_top",
            "otel",
            "otel_listen",
            "otel_dir",
            "otel_span_name_filter",
            "otel_span_min_duration_filter",
            "profiling",
            "profiling_listen",
            "profiling_dir",
        ],
    ),
    (
        "Without effect, for existing files of flags",
        &[
            "tls_client_session_cache_size",
            "disk_mode",
            "watch_query_timeout",
            "datastore_max_idle_connections",
            "datastore_max_open_connections",
            "datastore_connection_max_lifetime",
            "datastore_connection_max_idle_time",
        ],
    ),
];

/// Puts the flags in their groups. An empty default is not shown, and a switch takes a `BOOL`.
pub(super) fn apply(mut program: Command) -> Command {
    let flags = GROUPS
        .iter()
        .flat_map(|(heading, flags)| flags.iter().map(move |flag| (*heading, *flag)));
    for (order, (heading, flag)) in flags.enumerate() {
        // Help has the headings in the order of the flags, the last of which is the one changed last.
        program = program.mut_arg(flag, |flag| flag.help_heading(heading).display_order(order));
    }
    program.mut_args(|flag| {
        let is_switch = flag
            .get_num_args()
            .is_some_and(|count| count.min_values() == 0);
        let is_empty = flag.get_default_values() == [""];
        let flag = flag.hide_default_value(is_empty);
        match is_switch && flag.get_long().is_some() {
            true => flag.value_name("BOOL"),
            false => flag,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::{Args, remarks};

    #[test]
    fn every_flag_is_in_one_group() {
        let program = Args::command();
        let mut flags: Vec<&str> = program
            .get_arguments()
            .filter(|flag| !flag.is_hide_set() && flag.get_long() != Some("help"))
            .map(|flag| flag.get_id().as_str())
            .collect();
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, flags)| *flags)
            .copied()
            .collect();
        flags.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(flags, grouped);
    }

    #[test]
    fn flags_without_effect_are_the_last_group() {
        let (_, last) = GROUPS[GROUPS.len() - 1];
        for flag in remarks::without_effect() {
            assert!(last.contains(&flag), "{flag}");
        }
    }

    #[test]
    fn help_begins_with_what_most_need_and_shows_defaults_as_they_are() {
        let help = apply(Args::command()).render_long_help().to_string();
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text}: {help}"));
        let places = GROUPS.map(|(heading, _)| at(&format!("{heading}:")));
        assert!(places.is_sorted(), "{places:?}");
        assert!(at("--storage-dir") < at("--cert-file"));
        assert!(!help.contains("[default: \"\"]"), "{help}");
        assert!(help.contains("--metrics[=<BOOL>]"), "{help}");
    }
}
