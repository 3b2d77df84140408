//! `snap set`: checks the settings, applies what has changed, restarts only then.

use std::ffi::OsString;

use dqlite::files::yaml_value;

use super::{
    HookError, SnapPaths,
    address::{is_managed, manager_address},
    args::{Flag, with},
    check, join,
    paths::{self, MANAGER, SERVER},
    settings::{JOIN_TOKEN, KEYS, Settings, no_such, unknown},
};
use crate::{
    address::NodeAddress,
    args::Args,
    config::{INIT, UPDATE, init_address, init_names_others},
};

/// The service of the cluster manager.
pub const MANAGER_SERVICE: &str = "k8sd-daemon";

const FAILURE_DOMAIN: &str = "failure-domain";

/// A file that gets another text.
type Change = (std::path::PathBuf, String);

pub async fn run(paths: &SnapPaths, now_s: i64) -> Result<(), HookError> {
    let settings = read(paths)?;
    // All that can be refused comes before anything is changed.
    let server = args_change(paths, SERVER, &server_flags(&settings))?;
    if let Some((_, text)) = &server {
        check_flags(paths, text)?;
    }
    let manager = args_change(paths, MANAGER, &manager_flags(&settings))?;
    let address = match &settings.address {
        Some(wanted) => address_change(paths, wanted)?,
        None => None,
    };
    let moves_to = settings.address.as_ref().filter(|_| address.is_some());
    check::run(&settings, moves_to).await?;
    let node = domain_change(paths, &settings)?.into_iter().chain(address);
    let node: Vec<Change> = node.collect();
    let is_joined = match &settings.join_token {
        Some(token) => {
            join::run(paths, &settings, token, now_s).await?;
            true
        }
        None => false,
    };
    let restarts_server = is_joined || server.is_some() || !node.is_empty();
    let restarts_manager = manager.is_some();
    for (path, text) in server.into_iter().chain(manager).chain(node) {
        paths::write(&path, &text)?;
    }
    if is_joined {
        paths.unset(JOIN_TOKEN)?;
    }
    if restarts_server {
        paths.restart(SERVER)?;
    }
    if restarts_manager {
        paths.restart(MANAGER_SERVICE)?;
    }
    Ok(())
}

/// Returns the settings. Fails, with a line for each, if there are wrong ones or keys that mean nothing.
fn read(paths: &SnapPaths) -> Result<Settings, HookError> {
    let keys = paths.all_keys();
    let mut wrong: Vec<String> = unknown(&keys).into_iter().map(no_such).collect();
    match Settings::parse(&paths.settings(&KEYS)?) {
        Ok(settings) if wrong.is_empty() => Ok(settings),
        Ok(_) => Err(HookError::Settings(wrong)),
        Err(HookError::Settings(more)) => {
            wrong.extend(more);
            Err(HookError::Settings(wrong))
        }
        Err(error) => Err(error),
    }
}

fn server_flags(settings: &Settings) -> [Flag<'static>; 6] {
    [
        ("--listen", settings.listen.clone()),
        (
            "--advertise-client-urls",
            settings.advertise_client_urls.clone(),
        ),
        (
            "--metrics",
            settings.metrics.as_ref().map(|_| "true".to_owned()),
        ),
        ("--metrics-listen", settings.metrics.clone()),
        ("--metrics-top", settings.metrics_top.clone()),
        ("--log-level", settings.log_level.clone()),
    ]
}

fn manager_flags(settings: &Settings) -> [Flag<'static>; 3] {
    let node = settings.address.as_ref().map(NodeAddress::as_str);
    [
        ("--name", settings.name.clone()),
        ("--address", node.map(manager_address)),
        ("--datastore-address", node.map(str::to_owned)),
    ]
}

/// The args file, if these flags change it.
fn args_change(
    paths: &SnapPaths,
    service: &str,
    flags: &[Flag<'_>],
) -> Result<Option<Change>, HookError> {
    let path = paths.args(service);
    let old = paths::read(&path)?.unwrap_or_default();
    let new = with(&old, flags);
    Ok((new != old).then_some((path, new)))
}

/// The server would refuse to start with flags that do not fit together.
fn check_flags(paths: &SnapPaths, text: &str) -> Result<(), HookError> {
    let variable = |name: &str| -> Option<OsString> {
        match name {
            "SNAP" => Some(paths.snap.clone().into()),
            "SNAP_DATA" => Some(paths.data.clone().into()),
            "SNAP_COMMON" => Some(paths.common.clone().into()),
            _ => None,
        }
    };
    let told = |error: &dyn std::fmt::Display| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        HookError::Settings(vec![
            first.strip_prefix("error: ").unwrap_or(first).to_owned(),
        ])
    };
    let words = args_file::words_of(&paths.args(SERVER), text, variable);
    let words = words.map_err(|error| told(&error))?;
    let arguments = [OsString::from(SERVER)].into_iter().chain(words);
    Args::read(arguments)
        .map(drop)
        .map_err(|error| told(&error))
}

fn domain_change(paths: &SnapPaths, settings: &Settings) -> Result<Option<Change>, HookError> {
    let Some(domain) = &settings.failure_domain else {
        return Ok(None);
    };
    let path = paths.storage().join(FAILURE_DOMAIN);
    let old = paths::read(&path)?;
    let is_new = old.as_deref().map(str::trim) != Some(domain);
    Ok(is_new.then(|| (path, format!("{domain}\n"))))
}

fn address_change(paths: &SnapPaths, wanted: &NodeAddress) -> Result<Option<Change>, HookError> {
    let storage = paths.storage();
    let text = format!("Address: {}\n", yaml_value(wanted.as_str()));
    match paths.own_node()? {
        Some(own) if own.address == wanted.as_str() => Ok(None),
        Some(_) if is_managed(paths) => Err(HookError::Refused(
            "address: other nodes know this one by its address, because it is part of a cluster of k8sd: remove it \
             there, and let it join again with the new one"
                .to_owned(),
        )),
        Some(_) => Ok(Some((storage.join(UPDATE), text))),
        None if init_address(&storage)?.as_ref() == Some(wanted) => Ok(None),
        None if init_names_others(&storage)? => Err(HookError::Refused(format!(
            "address: {} names other nodes: change Address there",
            storage.join(INIT).display()
        ))),
        None => Ok(Some((storage.join(INIT), text))),
    }
}
