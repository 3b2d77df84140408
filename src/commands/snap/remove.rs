//! Before the data goes: the others are told, or they would count this node until somebody removes it.

use std::process::Command;

use super::{Places, places::MANAGER, snapctl};

/// The services are stopped. Whatever comes of it, the snap is removed.
pub fn run(places: &Places) {
    let mut k8sd = Command::new(places.program(MANAGER));
    k8sd.arg("leave").arg("--state-dir").arg(places.manager());
    if let Err(error) = snapctl::run(&mut k8sd, "k8sd leave") {
        eprintln!("{error}");
    }
}
