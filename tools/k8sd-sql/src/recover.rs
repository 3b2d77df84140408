//! `k8sd recover`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use k8sd::{recover, state::StateDir, time::now_s};

use crate::{
    args::Recover,
    failure::{Failure, failed},
};

pub async fn run(state: &StateDir, args: &Recover) -> Result<ExitCode, Failure> {
    let wanted = recover::Wanted {
        state,
        compare: &args.compare,
        members: &args.members,
        is_wanted: args.yes,
        loses_newer_data: args.force.is_some(),
    };
    let told = recover::recover(&wanted, now_s()).await;
    let told = told.map_err(failed("Failed to recover the cluster."))?;
    write!(io::stdout(), "{told}")?;
    Ok(ExitCode::SUCCESS)
}
