//! This machine: disk, open files, addresses, certificates by the clock, backups.

use std::{fs, net::TcpListener, path::Path};

use command_line::{Fault, Finding, Severity};
use dqlite::{files::read_info, proxy::BoundPort, tls::Pair};
use nix::sys::{
    resource::{Resource, getrlimit},
    statvfs::statvfs,
};
use openssl::asn1::Asn1Time;
use tables::bytes;

use super::socket_units;
use crate::{
    address::ListenSocket,
    args::{Args, DEFAULT_LISTEN, file},
    backup::backup_time_s,
    cluster::status::{CERTIFICATE_WARNING_DAYS, DAY_S},
    commands::snap::check_socket,
    config::{self, Start},
};

/// Free space that is soon used up, as a part of the disk: one of so many.
const LOW_PART: u64 = 20;

/// Files that a server of a large cluster may want open.
const FEW_FILES: u64 = 4096;

/// Backups older than so many intervals are late.
const LATE_INTERVALS: u64 = 2;

/// Seconds by which a clock may have been set back without a word about it.
const CLOCK_LEEWAY_S: u64 = 60;

/// Files of a directory of backups that are looked at.
const MAX_BACKUPS: usize = 65_536;

pub fn disk(args: &Args, findings: &mut Vec<Finding>) {
    let dir = &args.storage_dir;
    let Ok(disk) = statvfs(dir.as_path()) else {
        // The directory cannot be read: that is a finding already.
        return;
    };
    let free = disk.blocks_available() * disk.fragment_size();
    let all = disk.blocks() * disk.fragment_size();
    let text = format!("{} of {} are free", bytes(free), bytes(all));
    let remedy = format!("make room on the disk of {}", dir.display());
    findings.push(if free < args.watch_storage_available_size_min_bytes {
        Finding::problem(Fault::DiskFull, "disk", text).with_remedy(remedy, "Disk space")
    } else if disk.files() > 0 && disk.files_available() == 0 {
        let text = "no file can be made any more: the disk has no inode left";
        Finding::problem(Fault::DiskFull, "disk", text).with_remedy(remedy, "Disk space")
    } else if free < all / LOW_PART {
        Finding::warning("disk", text).with_remedy(remedy, "Disk space")
    } else {
        Finding::ok("disk", text)
    });
}

/// Of this process: a service has its own, which systemd tells.
pub fn open_files(findings: &mut Vec<Finding>) {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    findings.push(match hard < FEW_FILES {
        true => Finding::warning(
            "open files",
            format!("this user may have {hard} files open"),
        )
        .with_remedy(
            "raise the hard limit (ulimit -Hn, LimitNOFILE= of the unit) to 65536",
            "As a service",
        ),
        false => Finding::ok(
            "open files",
            format!("this user may have {hard} files open"),
        ),
    });
}

/// Checks that this machine has the addresses, and nobody else their ports. Of a server that does not run.
pub async fn addresses(args: &Args, start: Option<&Start>, findings: &mut Vec<Finding>) {
    let before = findings.len();
    let own = match start {
        Some(Start::First { address } | Start::Join { address, .. } | Start::Move { address }) => {
            Some(address.to_string())
        }
        Some(Start::Again) => read_info(&args.storage_dir)
            .ok()
            .flatten()
            .map(|it| it.address),
        None => None,
    };
    if let Some(address) = own
        && let Err(error) = BoundPort::bind(&address).await
    {
        let found = Finding::problem(Fault::Listen, "addresses", error.to_string());
        findings.push(found.with_remedy(
            "give this machine the address, stop what has the port, or change the node's address",
            "Changing a node's address",
        ));
    }
    // Without flags these are the defaults, which the server may not have.
    let is_default = args.listen.to_string() == DEFAULT_LISTEN;
    let metrics = args.metrics.then_some(&args.metrics_listen);
    let mut units = None;
    for address in args.listen.0.iter().chain(metrics) {
        let Err(mut error) = check_socket(&address.socket).and_then(|()| bind(&address.socket))
        else {
            continue;
        };
        if let ListenSocket::Tcp { host, port } = &address.socket {
            if units.is_none() {
                units = Some(socket_units::list().await);
            }
            match socket_units::holder(units.as_deref().unwrap_or_default(), host, *port) {
                Some(unit) if unit.is_of_server() => {
                    let text = format!("{address} is held by {}, for the server", unit.name);
                    findings.push(Finding::ok("addresses", text));
                    continue;
                }
                Some(unit) => error = format!("{error}: it is held by {}", unit.name),
                None => {}
            }
        }
        let text = format!("{address}: {error}");
        let found = match is_default {
            true => Finding::warning("addresses", format!("the default of --listen, {text}")),
            false => Finding::problem(Fault::Listen, "addresses", text),
        };
        findings.push(found.with_remedy(
            "change --listen or --metrics-listen, or stop what has the port",
            "Several addresses",
        ));
    }
    if findings.len() == before {
        findings.push(Finding::ok(
            "addresses",
            "this machine has them, and their ports are free",
        ));
    }
}

fn bind(socket: &ListenSocket) -> Result<(), String> {
    let ListenSocket::Tcp { host, port } = socket else {
        return Ok(());
    };
    let host = if host.is_empty() { "::" } else { host.as_str() };
    match TcpListener::bind((host, *port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks that the pairs are valid now, and for how long. `is_asked`: the cluster is asked about the pair of the nodes.
pub fn certificates(args: &Args, is_asked: bool, now_s: i64, findings: &mut Vec<Finding>) {
    let dir = &args.storage_dir;
    if args.enable_tls {
        let pair = Pair::load(&dir.join(config::CERTIFICATE), &dir.join(config::KEY));
        let remedies = (config::RENEW_PAIR, config::REPLACE_PAIR);
        // If it cannot be read, the settings have it.
        if let Ok(pair) = pair {
            let found = validity("between the nodes", &pair, now_s, remedies, "Certificates");
            // The judge of the cluster says the same of all nodes.
            findings.extend(found.filter(|it| !is_asked || it.severity == Severity::Ok));
        }
    } else {
        let text = "nodes speak without TLS: cluster.crt and cluster.key are not there, or --enable-tls is false";
        findings.push(Finding::note("certificates", text).in_section("Certificates"));
    }
    let flags = &args.client_tls;
    if args.listen.has_tls()
        && let Ok(pair) = Pair::load(Path::new(&flags.cert_file), Path::new(&flags.key_file))
    {
        let section = "TLS of the etcd endpoint";
        let remedy = "put new files in their place, which need no restart";
        findings.extend(validity(
            "for clients",
            &pair,
            now_s,
            (remedy, remedy),
            section,
        ));
    }
}

/// The remedies are for before and after the end.
fn validity(
    whose: &str,
    pair: &Pair,
    now_s: i64,
    (in_time, too_late): (&str, &str),
    section: &'static str,
) -> Option<Finding> {
    let days = (pair.expires_s().ok()? - now_s).div_euclid(DAY_S);
    let begins = Asn1Time::from_unix(now_s).ok()? < pair.certificate().not_before();
    let text = |state: String| format!("the certificate {whose} {state}");
    let problem = |state: &str| {
        Finding::problem(Fault::Degraded, "certificates", text(state.to_owned()))
            .with_remedy(too_late, section)
    };
    Some(if begins {
        problem("is not valid yet: this machine's clock may be wrong")
    } else if days < 0 {
        problem("has expired")
    } else if days < CERTIFICATE_WARNING_DAYS {
        let state = text(format!("expires in {days} days"));
        Finding::warning("certificates", state).with_remedy(in_time, section)
    } else {
        Finding::ok("certificates", text(format!("is valid for {days} days")))
    })
}

/// Checks that the newest scheduled backup is no older than it may be.
pub fn backups(args: &Args, now_s: i64, findings: &mut Vec<Finding>) {
    let flags = &args.backup;
    let (Some(dir), Some(interval)) = (file(&flags.backup_dir), flags.backup_interval.positive())
    else {
        let text = "the server makes none: --backup-dir is not among the flags that this was given";
        findings.push(Finding::note("backups", text).in_section("Scheduled backups"));
        return;
    };
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) => {
            let text = format!("cannot read {}: {error}", dir.display());
            let found = Finding::problem(Fault::Config, "backups", text);
            findings.push(found.with_remedy(
                "make the directory, for the user of the server",
                "Scheduled backups",
            ));
            return;
        }
    };
    let names = entries
        .flatten()
        .take(MAX_BACKUPS)
        .map(|entry| entry.file_name());
    let newest = names.filter_map(|name| backup_time_s(name.to_str()?)).max();
    let remedy = "look at k8s_dqlite_backup_failures_total and the log";
    findings.push(match newest {
        None => Finding::warning("backups", format!("there is none in {}", dir.display()))
            .with_remedy(remedy, "Scheduled backups"),
        Some(at_s) if at_s > now_s.cast_unsigned() + CLOCK_LEEWAY_S => {
            Finding::warning("backups", "the newest is of a time to come").with_remedy(
                "set this machine's clock, or move that file away if the clock was wrong when it was made",
                "Scheduled backups",
            )
        }
        Some(at_s) => {
            let age_s = now_s.cast_unsigned().saturating_sub(at_s);
            let text = format!("the newest is {} old", age(age_s));
            match age_s > LATE_INTERVALS * interval.as_secs() {
                true => Finding::warning("backups", text).with_remedy(remedy, "Scheduled backups"),
                false => Finding::ok("backups", text),
            }
        }
    });
}

fn age(seconds: u64) -> String {
    const HOUR_S: u64 = 3600;
    match seconds {
        0..HOUR_S => format!("{} min", seconds / 60),
        HOUR_S..172_800 => format!("{} h", seconds / HOUR_S),
        _ => format!("{} days", seconds / (24 * HOUR_S)),
    }
}
