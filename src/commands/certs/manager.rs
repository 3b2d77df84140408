//! Tells the cluster manager of the new pair, which it gives to nodes that join.

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
};

use super::CertsError;
use crate::{args::CertsRotateArgs, config::quoted};

const PROGRAM: &str = "k8sd";

/// Its program is beside this one, or found as any other. Returns what it says; nothing where it has no cluster. `new` is
/// the fingerprint of the pair.
pub async fn tell(args: &CertsRotateArgs, new: &str) -> Result<String, CertsError> {
    let Some(state) = &args.k8sd_state_dir else {
        return Ok(String::new());
    };
    if !state.join("daemon.yaml").exists() {
        return Ok(String::new());
    }
    let mut command = Command::new(program());
    command.arg("--state-dir").arg(state);
    command.args(["certs", "take"]).arg(&args.storage_dir);
    let ran = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let reason = match ran.await.expect("running a program does not panic") {
        Ok(output) if output.status.success() => {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let snap = env::var("SNAP_INSTANCE_NAME").ok();
    Err(CertsError::Manager {
        new: new.to_owned(),
        reason,
        command: by_hand(snap.as_deref(), state, &args.storage_dir),
    })
}

fn program() -> OsString {
    let beside = env::current_exe().map(|own| own.with_file_name(PROGRAM));
    match beside {
        Ok(path) if path.exists() => path.into(),
        _ => PROGRAM.into(),
    }
}

/// Returns the command for an operator. The app of a snap knows its state directory, and alone can reach it.
fn by_hand(snap: Option<&str>, state: &Path, storage: &Path) -> String {
    let program = match snap {
        Some(instance) => format!("sudo {instance}.{PROGRAM}"),
        None => format!("{PROGRAM} --state-dir {}", quoted(state)),
    };
    format!("{program} certs take {}", quoted(storage))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[test]
    fn the_command_by_hand_is_that_of_the_snap_in_the_snap() {
        let [state, storage] = ["/state", "/storage"].map(Path::new);
        let inside = by_hand(Some("k8s-dqlite_a"), state, storage);
        assert_eq!(inside, "sudo k8s-dqlite_a.k8sd certs take /storage");
        let outside = by_hand(None, state, storage);
        assert_eq!(outside, "k8sd --state-dir /state certs take /storage");
    }

    #[tokio::test]
    async fn what_was_done_is_said_where_the_manager_cannot_be_told() {
        // No daemon runs there, whether there is a program or not.
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("daemon.yaml"), "name: node1\n").unwrap();
        let args = CertsRotateArgs::parse_from([
            "rotate".as_ref(),
            "--k8sd-state-dir".as_ref(),
            state.path().as_os_str(),
        ]);
        let error = tell(&args, "AA:BB").await.unwrap_err().to_string();
        assert!(
            error.starts_with("all nodes use the new pair, SHA-256 AA:BB"),
            "{error}"
        );
        assert!(error.contains("certs take"), "{error}");
    }
}
