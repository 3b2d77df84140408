//! The settings, and what is asked of snapd.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::{Map, Value};

use super::{HookError, SnapPaths, settings::REFRESH_WHEN_DEGRADED};

/// The longest text that snapd takes for a state of health.
const MAX_HEALTH_MESSAGE: usize = 70;

impl SnapPaths {
    /// The values of the settings that have one.
    pub fn settings(&self, keys: &[&str]) -> Result<Map<String, Value>, HookError> {
        let mut arguments = vec!["get", "-d"];
        arguments.extend(keys);
        let printed = self.snapctl(&arguments)?;
        serde_json::from_str(&printed).map_err(|error| HookError::Program {
            program: "snapctl get".to_owned(),
            output: format!("{error} in {printed:?}"),
        })
    }

    /// The names of all settings that have a value, known or not; none where snapd does not tell.
    pub fn all_keys(&self) -> Vec<String> {
        // Without any name it refuses; the empty one is the whole document, if another one follows.
        let printed = self.snapctl(&["get", "-d", "", REFRESH_WHEN_DEGRADED]);
        let document = printed
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        let document: Map<String, Value> = document.unwrap_or_default();
        let all = document.get("").and_then(Value::as_object);
        all.map(|all| all.keys().cloned().collect())
            .unwrap_or_default()
    }

    pub fn unset(&self, key: &str) -> Result<(), HookError> {
        self.snapctl(&["unset", key]).map(drop)
    }

    /// Restarts a service, also one that does not run, unless somebody has disabled it. In
    /// `configure`, snapd does it when the hook has succeeded.
    pub fn restart(&self, service: &str) -> Result<(), HookError> {
        let service = format!("{}.{service}", self.instance);
        let listed = self.snapctl(&["services", &service])?;
        let state = listed.lines().nth(1).unwrap_or_default();
        match state.split_whitespace().nth(1) {
            Some("disabled") => Ok(()),
            _ => self.snapctl(&["restart", &service]).map(drop),
        }
    }

    /// `state`: okay, waiting, blocked or error.
    pub fn set_health(&self, state: &str, code: &str, message: &str) -> Result<(), HookError> {
        if state == "okay" {
            return self.snapctl(&["set-health", state]).map(drop);
        }
        let message: String = message.chars().take(MAX_HEALTH_MESSAGE).collect();
        let code = format!("--code={code}");
        self.snapctl(&["set-health", &code, state, &message])
            .map(drop)
    }

    fn snapctl(&self, arguments: &[&str]) -> Result<String, HookError> {
        let mut command = Command::new(&self.snapctl);
        run(command.args(arguments), "snapctl")
    }
}

/// Runs the command and returns what it prints. Fails if it fails.
pub fn run(command: &mut Command, program: &str) -> Result<String, HookError> {
    let output = command.stdin(Stdio::null()).output();
    printed(output, program)
}

/// Like [`run`], with text for the standard input of the command.
pub fn run_with(command: &mut Command, program: &str, input: &str) -> Result<String, HookError> {
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = piped.spawn().and_then(|mut child| {
        // It is small. A program that does not read it says why it failed.
        let _ = child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(input.as_bytes()));
        child.wait_with_output()
    });
    printed(output, program)
}

fn printed(output: std::io::Result<Output>, program: &str) -> Result<String, HookError> {
    let output = output.map_err(|source| HookError::Run {
        program: program.to_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(HookError::Program {
        program: program.to_owned(),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
