use super::*;

fn read(arguments: &[&str]) -> Result<Args, clap::Error> {
    Args::read(["k8s-dqlite"].iter().chain(arguments).map(OsString::from))
}

fn error(arguments: &[&str]) -> String {
    read(arguments).unwrap_err().to_string()
}

#[test]
fn defaults_are_those_of_the_go_server() {
    let args = read(&[]).unwrap();
    assert_eq!(args.storage_dir, PathBuf::from("/var/tmp/k8s-dqlite"));
    assert_eq!(args.listen.to_string(), "tcp://127.0.0.1:12379");
    assert!(args.enable_tls);
    assert_eq!(args.min_tls_version, TlsVersion::Tls12);
    assert_eq!(args.tls_client_session_cache_size, 0);
    assert_eq!(args.log_level, "info");
    assert!(!args.debug && !args.profiling && !args.disk_mode && !args.metrics && !args.otel);
    assert_eq!(args.profiling_listen.to_string(), "tcp://127.0.0.1:4000");
    assert_eq!(args.metrics_listen.to_string(), "tcp://127.0.0.1:9042");
    assert_eq!(args.otel_listen, "127.0.0.1:4317");
    assert_eq!(
        (args.profiling_dir.as_str(), args.otel_dir.as_str()),
        ("", "")
    );
    assert_eq!(args.datastore_max_idle_connections, 5);
    assert_eq!(args.datastore_max_open_connections, 5);
    assert_eq!(
        args.datastore_connection_max_lifetime,
        GoDuration::from_secs(60)
    );
    assert_eq!(
        args.datastore_connection_max_idle_time,
        GoDuration::from_secs(0)
    );
    assert_eq!(
        args.watch_storage_available_size_interval,
        GoDuration::from_secs(5)
    );
    assert_eq!(args.watch_storage_available_size_min_bytes, 10_485_760);
    assert_eq!(args.low_available_storage_action, LowStorageAction::None);
    assert_eq!(args.watch_query_timeout, GoDuration::from_secs(20));
    assert_eq!(args.watch_progress_notify_interval, Duration::from_secs(5));
    assert!(args.remarks.is_empty(), "{:?}", args.remarks);
}

#[test]
fn values_follow_an_equals_sign_or_a_space() {
    let listen = "--listen=unix:///run/k8s.sock";
    let with_equals = [
        "--storage-dir=/data",
        listen,
        "--low-available-storage-action=handover",
    ];
    let with_spaces: Vec<&str> = with_equals
        .iter()
        .flat_map(|flag| flag.split('='))
        .collect();
    for arguments in [with_equals.as_slice(), &with_spaces] {
        let args = read(arguments).unwrap();
        assert_eq!(args.storage_dir, PathBuf::from("/data"));
        assert_eq!(args.listen.to_string(), "unix:///run/k8s.sock");
        assert_eq!(
            args.low_available_storage_action,
            LowStorageAction::Handover
        );
    }
    assert_eq!(
        read(&["--listen="]).unwrap().listen.to_string(),
        "unix://kine.sock"
    );
}

#[test]
fn a_switch_takes_its_value_only_after_an_equals_sign() {
    assert!(read(&["--metrics"]).unwrap().metrics);
    assert!(!read(&["--enable-tls=false"]).unwrap().enable_tls);
    assert!(!read(&["--enable-tls=F"]).unwrap().enable_tls);
    assert!(read(&["--enable-tls=1"]).unwrap().enable_tls);
    assert!(error(&["--enable-tls", "false"]).contains("false"));
    assert!(error(&["--enable-tls=maybe"]).contains("write true or false"));
    assert!(error(&["--enable-tls="]).contains("--enable-tls"));
}

#[test]
fn the_last_of_a_repeated_flag_counts() {
    let args = [
        "--storage-dir=/a",
        "--metrics",
        "--storage-dir",
        "/b",
        "--metrics=false",
    ];
    let args = read(&args).unwrap();
    assert_eq!(args.storage_dir, PathBuf::from("/b"));
    assert!(!args.metrics);
}

#[test]
fn durations_and_numbers_have_gos_forms() {
    let args = read(&[
        "--watch-progress-notify-interval=250ms",
        "--watch-storage-available-size-interval=0",
        "--watch-storage-available-size-min-bytes=0x100",
        "--datastore-max-idle-connections",
        "-1",
        "--datastore-connection-max-lifetime",
        "-1m30s",
    ])
    .unwrap();
    assert_eq!(
        args.watch_progress_notify_interval,
        Duration::from_millis(250)
    );
    assert_eq!(args.watch_storage_available_size_interval.positive(), None);
    assert_eq!(args.watch_storage_available_size_min_bytes, 256);
    assert_eq!(args.datastore_max_idle_connections, -1);
}

#[test]
fn a_wrong_value_is_named_with_its_flag_and_what_is_right() {
    for (argument, expected) in [
        ("--watch-query-timeout=20", "such as 250ms, 5s"),
        ("--watch-progress-notify-interval=0", "more than zero"),
        ("--min-tls-version=ssl3", "tls10, tls11, tls12 and tls13"),
        (
            "--low-available-storage-action=panic",
            "none, handover, terminate",
        ),
        (
            "--watch-storage-available-size-min-bytes=10MB",
            "invalid digit",
        ),
        (
            "--listen=127.0.0.1:12379",
            "tcp://host:port or unix:///path",
        ),
        ("--no-such-flag", "--no-such-flag"),
        ("-listen=tcp://:1", "-l"),
        ("stray", "stray"),
    ] {
        let error = error(&[argument]);
        let is_named = argument
            .split_once('=')
            .is_none_or(|(flag, _)| error.contains(&flag[..2]));
        assert!(is_named && error.contains(expected), "{argument}: {error}");
        assert_eq!(read(&[argument]).unwrap_err().exit_code(), 2, "{argument}");
    }
}

#[test]
fn flags_that_do_nothing_are_accepted_and_remarked_on() {
    let args = read(&[
        "--disk-mode",
        "--datastore-max-open-connections=5",
        "--watch-query-timeout=30s",
        "--metrics",
        "--metrics-listen=:9042",
        "--profiling-dir=/tmp",
        "--otel=false",
        "--debug",
        "--tls-client-session-cache-size=10",
    ])
    .unwrap();
    let remarks = args.remarks.join("\n");
    assert_eq!(args.remarks.len(), 6, "{remarks}");
    for flag in [
        "--disk-mode has no effect",
        "--datastore-max-open-connections has no effect",
        "--watch-query-timeout has no effect",
        "--profiling-dir has no effect without --profiling",
        "--tls-client-session-cache-size is not available",
        "--debug is deprecated",
    ] {
        assert!(remarks.contains(flag), "{flag}: {remarks}");
    }
}

#[test]
fn metrics_are_served_where_they_are_wanted() {
    let args = read(&["--metrics", "--metrics-listen=:9042"]).unwrap();
    assert!(args.metrics && !args.metrics_top && args.remarks.is_empty());
    let args = read(&["--metrics", "--metrics-top", "--metrics-listen=:9042"]).unwrap();
    assert!(args.metrics_top && args.remarks.is_empty());
    let alone = read(&["--metrics-top"]).unwrap();
    assert_eq!(
        alone.remarks,
        ["--metrics-top has no effect without --metrics"]
    );
    assert_eq!(args.metrics_listen.to_string(), "tcp://:9042");
    for wrong in ["9042", "unix:///a", "host:port", ""] {
        assert!(
            read(&[&format!("--metrics-listen={wrong}")]).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn version_is_a_sub_command_and_a_flag() {
    assert_eq!(read(&["version"]).unwrap().command, Some(Command::Version));
    let text = format!("k8s-dqlite {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["--version", "-V"] {
        let told = read(&[flag]).unwrap_err();
        assert_eq!((told.to_string(), told.exit_code()), (text.clone(), 0));
    }
}

#[test]
fn help_is_a_sub_command_and_a_flag() {
    for words in [
        &["help"][..],
        &["--help"],
        &["help", "status"],
        &["status", "--help"],
    ] {
        let told = read(words).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::DisplayHelp, "{words:?}");
    }
}

#[test]
fn every_sub_command_has_an_example() {
    fn look(command: &clap::Command) {
        for command in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let after = command.get_after_help().map(ToString::to_string);
            let example = format!("  k8s-dqlite {}", command.get_name());
            let is_there = after.is_some_and(|text| {
                text.contains(&example) || text.contains(&format!(" {} ", command.get_name()))
            });
            assert!(is_there, "{}", command.get_name());
            look(command);
        }
    }
    look(&Args::grouped());
}

#[test]
fn a_token_lives_seconds_or_a_duration() {
    assert_eq!(
        read(&[]).unwrap().auth.auth_token_ttl,
        etcd_state::auth::DEFAULT_TTL
    );
    for (text, seconds) in [("300", 300), ("90s", 90), ("1h", 3600)] {
        let args = read(&[&format!("--auth-token-ttl={text}")]).unwrap();
        assert_eq!(
            args.auth.auth_token_ttl,
            Duration::from_secs(seconds),
            "{text}"
        );
    }
}

#[test]
fn tls_of_the_api_has_etcds_flags() {
    let args = read(&[]).unwrap();
    assert!(!args.listen.has_tls() && !args.client_tls.client_cert_auth);
    assert_eq!(args.client_tls.tls_min_version.0, Some(TlsVersion::Tls12));
    assert_eq!(args.client_tls.tls_max_version.0, None);
    let args = read(&[
        "--listen=https://:2379",
        "--cert-file=a.crt",
        "--key-file",
        "a.key",
        "--trusted-ca-file=ca.crt",
        "--client-cert-auth",
        "--client-crl-file=",
        "--tls-min-version=TLS1.3",
    ])
    .unwrap();
    let flags = &args.client_tls;
    assert!(args.listen.has_tls() && flags.client_cert_auth);
    assert_eq!(file(&flags.cert_file), Some("a.crt".into()));
    assert_eq!(file(&flags.client_crl_file), None);
    assert_eq!(flags.tls_min_version.0, Some(TlsVersion::Tls13));
}

#[test]
fn flags_of_tls_that_do_not_fit_together_are_refused() {
    let pair = ["--listen=https://:1", "--cert-file=a", "--key-file=b"];
    for (more, expected) in [
        (&["--client-cert-auth"][..], "needs --trusted-ca-file"),
        (&["--client-crl-file=c"], "needs --trusted-ca-file"),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "newer",
        ),
        (&["--listen=tcp://:1"], "write https://"),
        (&["--cert-file="], "needs --cert-file"),
    ] {
        let error = error(&[&pair[..], more].concat());
        assert!(error.contains(expected), "{error}");
    }
}
