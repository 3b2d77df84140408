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

/// Its program is beside this one, or found as any other. Returns what it says; nothing where it has no cluster.
pub async fn tell(args: &CertsRotateArgs) -> Result<String, CertsError> {
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
    Err(CertsError::Manager {
        reason,
        command: by_hand(state, &args.storage_dir),
    })
}

fn program() -> OsString {
    let beside = env::current_exe().map(|own| own.with_file_name(PROGRAM));
    match beside {
        Ok(path) if path.exists() => path.into(),
        _ => PROGRAM.into(),
    }
}

fn by_hand(state: &Path, storage: &Path) -> String {
    format!(
        "{PROGRAM} --state-dir {} certs take {}",
        quoted(state),
        quoted(storage)
    )
}
