//! The sub-command `doctor`: everything that can be checked about a node, as a list with remedies.
//!
//! Invariants: nothing is changed, but for the file of a bundle. The checks are those of a start, of `status` and of the
//! server; what they find is only collected here. A directory that nobody holds is locked for the time of the check,
//! so that its files do not change meanwhile.

mod bundle;
mod cluster;
mod directory;
mod machine;
mod program;
mod socket_units;

use std::{io, path::PathBuf};

use command_line::{Diagnosis, Finding};

use self::{bundle::Bundled, directory::Holder};
use crate::args::{Args, DoctorArgs};

#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error("{} exists already: choose another name", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

/// Looks at all. `args` has the flags of the server as far as they were given.
pub async fn run(args: &Args, wanted: &DoctorArgs, now_s: i64) -> Result<Diagnosis, DoctorError> {
    let mut findings = Vec::new();
    if let Some(url) = &wanted.endpoint {
        cluster::by_endpoint(url, wanted, &mut findings).await;
        return Ok(Diagnosis::new(url.to_string(), findings));
    }
    let args = with_directory(args, wanted);
    let dir = &args.storage_dir;
    let holder = directory::holder(dir, &mut findings);
    let runs = matches!(holder, Holder::Process);
    directory::permissions(dir, &mut findings);
    let survey = directory::settings(&args, &mut findings);
    let start = survey.start.as_ref();
    match holder {
        Holder::Nobody { _lock } => {
            directory::engine(dir, start, &mut findings);
            machine::addresses(&args, start, &mut findings).await;
        }
        Holder::Process => findings.push(Finding::note(
            "log",
            "not read, because the server writes to it; it was read when the server started",
        )),
        Holder::Unknown => {}
    }
    machine::disk(&args, &mut findings);
    machine::open_files(&mut findings);
    let report = cluster::by_directory(&args, runs, now_s, &mut findings).await;
    machine::certificates(&args, report.is_some(), now_s, &mut findings);
    machine::backups(&args, now_s, &mut findings);
    let text = "differences between the clocks of the nodes are not known";
    findings.push(Finding::note("clock", text));
    let diagnosis = Diagnosis::new(dir.display().to_string(), findings);
    if let Some(path) = &wanted.bundle {
        bundle::write(
            path,
            &Bundled {
                args: &args,
                logs: &wanted.log,
                diagnosis: &diagnosis,
                report: report.as_ref(),
                runs,
            },
        )
        .await?;
    }
    Ok(diagnosis)
}

/// Returns the flags with the directory that was named. Whether nodes speak TLS is as the files have it, because a
/// flag of the server may not be known here.
fn with_directory(args: &Args, wanted: &DoctorArgs) -> Args {
    let mut args = args.clone();
    let named = wanted.dir.as_ref().or(wanted.dir_by_flag.as_ref());
    if let Some(dir) = named {
        args.storage_dir.clone_from(dir);
    }
    args.enable_tls &= directory::has_pair(&args.storage_dir);
    args
}
