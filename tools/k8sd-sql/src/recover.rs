//! `k8sd recover`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use k8sd::{recover, state::StateDir, time::now_s};

use crate::{
    args::{Accepted, Recover},
    failure::{Failure, failed},
};

pub async fn run(state: &StateDir, args: &Recover) -> Result<ExitCode, Failure> {
    if !args.addresses.is_empty() {
        let wanted = recover::WantedAddresses {
            state,
            moved: &args.addresses,
            is_wanted: args.yes,
            leaves_others_running: args.force == Some(Accepted::LeaveOthersRunning),
        };
        let told = recover::change_addresses(&wanted, now_s()).await;
        let told = told.map_err(failed("Failed to change the addresses."))?;
        write!(io::stdout(), "{told}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = recover::Wanted {
        state,
        compare: &args.compare,
        members: &args.members,
        is_wanted: args.yes,
        loses_newer_data: args.force == Some(Accepted::LoseNewerData),
    };
    let told = recover::recover(&wanted, now_s()).await;
    let told = told.map_err(failed("Failed to recover the cluster."))?;
    write!(io::stdout(), "{told}")?;
    Ok(ExitCode::SUCCESS)
}
