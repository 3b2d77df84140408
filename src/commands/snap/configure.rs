//! `snap set`: checks the settings, applies what has changed, restarts only then.

use std::ffi::OsString;

use super::{
    HookError, Places,
    address::{is_managed, manager_address},
    args::{Flag, with},
    join,
    places::{self, MANAGER, SERVER},
    settings::{JOIN_TOKEN, KEYS, Settings},
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

pub async fn run(places: &Places, now_s: i64) -> Result<(), HookError> {
    let settings = Settings::parse(&places.settings(&KEYS)?)?;
    // All that can be refused comes before anything is changed.
    let server = args_change(places, SERVER, &server_flags(&settings))?;
    if let Some((_, text)) = &server {
        check_flags(places, text)?;
    }
    let manager = args_change(places, MANAGER, &manager_flags(&settings))?;
    let node = node_changes(places, &settings)?;
    let is_joined = match &settings.join_token {
        Some(token) => {
            join::run(places, &settings, token, now_s).await?;
            true
        }
        None => false,
    };
    let restarts_server = is_joined || server.is_some() || !node.is_empty();
    let restarts_manager = manager.is_some();
    for (path, text) in server.into_iter().chain(manager).chain(node) {
        places::write(&path, &text)?;
    }
    if is_joined {
        places.unset(JOIN_TOKEN)?;
    }
    if restarts_server {
        places.restart(SERVER)?;
    }
    if restarts_manager {
        places.restart(MANAGER_SERVICE)?;
    }
    Ok(())
}

fn server_flags(settings: &Settings) -> [Flag<'static>; 4] {
    [
        ("--listen", settings.listen.clone()),
        (
            "--metrics",
            settings.metrics.as_ref().map(|_| "true".to_owned()),
        ),
        ("--metrics-listen", settings.metrics.clone()),
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
    places: &Places,
    service: &str,
    flags: &[Flag<'_>],
) -> Result<Option<Change>, HookError> {
    let path = places.args(service);
    let old = places::read(&path)?.unwrap_or_default();
    let new = with(&old, flags);
    Ok((new != old).then_some((path, new)))
}

/// The server would refuse to start with flags that do not fit together.
fn check_flags(places: &Places, text: &str) -> Result<(), HookError> {
    let variable = |name: &str| -> Option<OsString> {
        match name {
            "SNAP" => Some(places.snap.clone().into()),
            "SNAP_DATA" => Some(places.data.clone().into()),
            "SNAP_COMMON" => Some(places.common.clone().into()),
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
    let words = args_file::words_of(&places.args(SERVER), text, variable);
    let words = words.map_err(|error| told(&error))?;
    let arguments = [OsString::from(SERVER)].into_iter().chain(words);
    Args::read(arguments)
        .map(drop)
        .map_err(|error| told(&error))
}

/// Returns the files in the storage directory that change, with their new text.
fn node_changes(places: &Places, settings: &Settings) -> Result<Vec<Change>, HookError> {
    let mut changes = Vec::new();
    if let Some(domain) = &settings.failure_domain {
        let path = places.storage().join(FAILURE_DOMAIN);
        let old = places::read(&path)?;
        if old.as_deref().map(str::trim) != Some(domain) {
            changes.push((path, format!("{domain}\n")));
        }
    }
    if let Some(wanted) = &settings.address {
        changes.extend(address_change(places, wanted)?);
    }
    Ok(changes)
}

fn address_change(places: &Places, wanted: &NodeAddress) -> Result<Option<Change>, HookError> {
    let storage = places.storage();
    let text = format!("Address: {wanted}\n");
    match places.own_node()? {
        Some(own) if own.address == wanted.as_str() => Ok(None),
        Some(_) if is_managed(places) => Err(HookError::Refused(
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
