//! Exit codes: from what happened to what the supervisor sees.

use std::io::ErrorKind;

use archive::{
    ChainError, DeltaError, ObjectError, RouteError, inspection::InspectionError, place::PlaceError,
};
use dqlite::node::{FileFailure, NodeError};

use crate::{
    backup::BackupError,
    cluster::{node::StartError, status::Health},
    commands::{
        archive::ArchiveCommandError, certs::CertsError, doctor::DoctorError, init::InitError,
        inspect::InspectError, migrator::MigrateError, recover::RecoverError,
        restore::RestoreError, roll_back::RollBackError, snap::HookError, top::TopError,
    },
    config::ConfigError,
    remote::RemoteError,
    server::ServerError,
    store::{OpenError, WriterError, conversion::ConversionError},
};

pub use command_line::Exit;

impl From<&ServerError> for Exit {
    fn from(error: &ServerError) -> Self {
        match error {
            ServerError::Config(_) | ServerError::Removed => Self::Config,
            ServerError::Telemetry(_) | ServerError::Profile(_) => Self::Usage,
            ServerError::Listen(_) => Self::Listen,
            ServerError::Node(StartError::Config(_)) => Self::Config,
            ServerError::Node(StartError::Port { .. }) => Self::Listen,
            ServerError::Node(StartError::Address(_)) => Self::Engine,
            ServerError::Node(StartError::Node(error)) | ServerError::Stop(error) => of_node(error),
            ServerError::Open(error) => of_open(error),
            ServerError::Writer(error) => of_writer(error),
            ServerError::Signals(_) | ServerError::Api(_) => Self::Failure,
        }
    }
}

/// The next start reads the log and says whether it is whole.
pub fn of_file_failure(failure: &FileFailure) -> Exit {
    match failure {
        _ if failure.is_disk_full() => Exit::DiskFull,
        _ if failure.is_forbidden() => Exit::Config,
        _ => Exit::Engine,
    }
}

impl From<Health> for Exit {
    fn from(health: Health) -> Self {
        match health {
            Health::Healthy => Self::Stopped,
            Health::Degraded => Self::Degraded,
            Health::NoLeader => Self::NoLeader,
        }
    }
}

impl From<&ConfigError> for Exit {
    fn from(_: &ConfigError) -> Self {
        Self::Config
    }
}

impl From<&InitError> for Exit {
    fn from(error: &InitError) -> Self {
        match error {
            InitError::Config(_) | InitError::Pair { .. } => Self::Config,
            InitError::NewPair(_) => Self::Failure,
            InitError::Address(_) => Self::Listen,
            InitError::Cluster { .. } => Self::Unreachable,
            InitError::Refused(_) => Self::Refused,
        }
    }
}

impl From<&CertsError> for Exit {
    fn from(error: &CertsError) -> Self {
        match error {
            CertsError::Config(_) => Self::Config,
            CertsError::NewPair(_) => Self::Failure,
            CertsError::Refused(_) | CertsError::Conflict(_) => Self::Refused,
            CertsError::Unreachable(_) | CertsError::Manager { .. } => Self::Unreachable,
        }
    }
}

/// snapd knows success and failure.
impl From<&HookError> for Exit {
    fn from(_: &HookError) -> Self {
        Self::Failure
    }
}

impl From<&RecoverError> for Exit {
    fn from(error: &RecoverError) -> Self {
        match error {
            RecoverError::Config(_) => Self::Config,
            RecoverError::Node(error) => of_node(error),
            RecoverError::Refused(_) => Self::Refused,
        }
    }
}

impl From<&RollBackError> for Exit {
    fn from(error: &RollBackError) -> Self {
        match error {
            RollBackError::Backup(error) => of_conversion(error),
            RollBackError::Directory(error) => Self::from(error),
            RollBackError::Open(error) => of_open(error),
        }
    }
}

impl From<&RestoreError> for Exit {
    fn from(error: &RestoreError) -> Self {
        match error {
            RestoreError::Unreadable { .. } => Self::Failure,
            RestoreError::NoSnapshot { .. }
            | RestoreError::NoChecksum(_)
            | RestoreError::WrongChecksum(_)
            | RestoreError::OtherThanSaid { .. }
            | RestoreError::Content(_) => Self::Data,
            RestoreError::StillRun(_) => Self::Refused,
            RestoreError::Place(error) => of_place(error),
            RestoreError::Archive(error) => of_route(error),
            RestoreError::Backup(error) => Self::from(error),
            RestoreError::Config(_) => Self::Config,
            RestoreError::Node(error) => of_node(error),
            RestoreError::Open(error) => of_open(error),
        }
    }
}

/// Tells an archive that cannot be reached from one that is damaged, or does not have what was asked for.
fn of_route(error: &RouteError) -> Exit {
    match error {
        RouteError::Object(error) => of_object(error),
        RouteError::Chain(ChainError::TooNew { .. } | ChainError::TooOld { .. })
        | RouteError::TooEarly => Exit::Refused,
        _ => Exit::Data,
    }
}

fn of_object(error: &ObjectError) -> Exit {
    match error {
        ObjectError::TimedOut(_) => Exit::TimedOut,
        ObjectError::Store(_) | ObjectError::Local(_) | ObjectError::TooMany => Exit::Failure,
        ObjectError::Delta {
            source: DeltaError::Sealed,
            ..
        } => Exit::Config,
        _ => Exit::Data,
    }
}

impl From<&BackupError> for Exit {
    fn from(error: &BackupError) -> Self {
        match error {
            BackupError::Exists(_) | BackupError::ForeignPartial(_) | BackupError::Held(_) => {
                Self::Refused
            }
            BackupError::Unwritable { source, .. } if source.kind() == ErrorKind::StorageFull => {
                Self::DiskFull
            }
            BackupError::Unwritable { source, .. } | BackupError::Unreadable { source, .. }
                if source.kind() == ErrorKind::PermissionDenied =>
            {
                Self::Config
            }
            BackupError::DiskLow { .. } => Self::DiskFull,
            BackupError::NoBackup { .. } | BackupError::Damaged { .. } => Self::Data,
            BackupError::Unwritable { .. }
            | BackupError::Unreadable { .. }
            | BackupError::WrongStream
            | BackupError::NoStream(_)
            | BackupError::Interrupted
            | BackupError::Store(_) => Self::Failure,
            BackupError::Remote(error) => Self::from(error),
        }
    }
}

impl From<&MigrateError> for Exit {
    fn from(error: &MigrateError) -> Self {
        match error {
            MigrateError::NotEmpty(..) | MigrateError::Same(_) => Self::Refused,
            MigrateError::Unwritable { source, .. } if source.kind() == ErrorKind::StorageFull => {
                Self::DiskFull
            }
            MigrateError::Snapshot(error) => Self::from(error),
            MigrateError::Unreadable { .. }
            | MigrateError::Unwritable { .. }
            | MigrateError::Incomplete { .. }
            | MigrateError::Compacted
            | MigrateError::Differs(_)
            | MigrateError::Disorder(_) => Self::Failure,
            MigrateError::Remote(error) => Self::from(error),
            MigrateError::Begun(error) => match Self::from(error) {
                // That would say that nothing was changed.
                Self::Refused => Self::Failure,
                other => other,
            },
        }
    }
}

impl From<&InspectError> for Exit {
    fn from(error: &InspectError) -> Self {
        match error {
            InspectError::Remote(error) => Self::from(error),
            InspectError::Late { .. } => Self::TimedOut,
            InspectError::NoKey { .. }
            | InspectError::NoRevision { .. }
            | InspectError::TooMany { .. } => Self::Failure,
        }
    }
}

/// Those that a start, or `status`, ends with.
impl From<&DoctorError> for Exit {
    fn from(error: &DoctorError) -> Self {
        match error {
            DoctorError::Exists(_) => Self::Refused,
            DoctorError::Unwritable { source, .. } => match source.kind() {
                ErrorKind::StorageFull => Self::DiskFull,
                ErrorKind::PermissionDenied => Self::Config,
                _ => Self::Failure,
            },
        }
    }
}

impl From<&ArchiveCommandError> for Exit {
    fn from(error: &ArchiveCommandError) -> Self {
        match error {
            ArchiveCommandError::Place(error) => of_place(error),
            ArchiveCommandError::Archive { source, .. } => match source {
                InspectionError::Object(error) => of_object(error),
                InspectionError::Nowhere { .. } => Self::Failure,
                _ => Self::Data,
            },
        }
    }
}

impl From<&TopError> for Exit {
    fn from(error: &TopError) -> Self {
        match error {
            TopError::Remote(error) => Self::from(error),
            TopError::NotThere(_) => Self::Refused,
            TopError::Output(_) => Self::Failure,
        }
    }
}

impl From<&RemoteError> for Exit {
    fn from(error: &RemoteError) -> Self {
        match error {
            RemoteError::Tls { .. } | RemoteError::Forbidden { .. } => Self::Config,
            RemoteError::NotWithTls(..) => Self::Usage,
            RemoteError::Unreachable { .. } | RemoteError::Unavailable { .. } => Self::Unreachable,
            RemoteError::Silent { .. } | RemoteError::TimedOut { .. } => Self::TimedOut,
            RemoteError::Refused { .. } => Self::Refused,
        }
    }
}

fn of_place(error: &PlaceError) -> Exit {
    match error {
        PlaceError::Url(_) => Exit::Usage,
        PlaceError::CredentialsFile(_)
        | PlaceError::KeyFile(_)
        | PlaceError::Authorities(_)
        | PlaceError::Credentials { .. }
        | PlaceError::Forbidden { .. }
        | PlaceError::NoPlace { .. } => Exit::Config,
        PlaceError::Unreachable { .. } | PlaceError::Unavailable { .. } => Exit::Unreachable,
        PlaceError::TimedOut { .. } => Exit::TimedOut,
        PlaceError::Full { .. } => Exit::DiskFull,
        PlaceError::Refused { .. }
        | PlaceError::Exists { .. }
        | PlaceError::NotExclusive { .. } => Exit::Refused,
        PlaceError::Missing { .. }
        | PlaceError::Sealed { .. }
        | PlaceError::CutShort { .. }
        | PlaceError::TooLarge { .. } => Exit::Data,
        PlaceError::Failed { .. } => Exit::Failure,
    }
}

fn of_node(error: &NodeError) -> Exit {
    match error {
        _ if error.is_passing() => Exit::Engine,
        NodeError::DirectoryHeld { .. } => Exit::Held,
        NodeError::FileCall(failure) => of_file_failure(failure),
        NodeError::Directory { .. }
        | NodeError::Unreadable { .. }
        | NodeError::InvalidOption { .. } => Exit::Config,
        NodeError::WouldBootstrap { .. } | NodeError::Damaged { .. } => Exit::Data,
        NodeError::DiskFull { .. } => Exit::DiskFull,
        NodeError::StopTimeout { .. } => Exit::StopTimeout,
        NodeError::LibraryTooOld { .. } | NodeError::Bind { .. } | NodeError::Engine { .. } => {
            Exit::Engine
        }
    }
}

fn of_open(error: &OpenError) -> Exit {
    match error {
        OpenError::NewerSchema(_)
        | OpenError::ForeignSchema(_)
        | OpenError::Foreign(_)
        | OpenError::Damaged(_) => Exit::Data,
        OpenError::Conversion(error) => error.downcast_ref().map_or(Exit::Failure, of_conversion),
        OpenError::NoLeader(_) | OpenError::Overtaken | OpenError::Dqlite(_) => Exit::Engine,
    }
}

fn of_conversion(error: &ConversionError) -> Exit {
    match error {
        _ if error.is_disk_full() => Exit::DiskFull,
        ConversionError::Exists(_) => Exit::Config,
        ConversionError::Rows(_) | ConversionError::NoBackup { .. } => Exit::Data,
        _ => Exit::Failure,
    }
}

fn of_writer(error: &WriterError) -> Exit {
    match error {
        WriterError::EngineLost(..) => Exit::Engine,
        WriterError::ForeignWriter(_) | WriterError::Damaged(_) => Exit::Data,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use etcd_state::mvcc::Revision;

    use super::*;
    use crate::{address::ListenSocket, api::ListenError, config::ConfigError};

    #[test]
    fn supervisors_can_tell_the_reasons_apart() {
        let dir = || "/data".into();
        let address = ListenSocket::Unix(dir()).into();
        let source = || io::ErrorKind::PermissionDenied.into();
        let config = || ConfigError::NotInitialised {
            dir: dir(),
            with_tls: true,
        };
        let held = NodeError::DirectoryHeld {
            dir: dir(),
            holder: String::new(),
        };
        let full = NodeError::DiskFull {
            dir: dir(),
            message: String::new(),
        };
        for (error, code) in [
            (ServerError::Signals(source()), 1),
            (ServerError::Config(config()), 3),
            (ServerError::Node(StartError::Config(config())), 3),
            (
                ServerError::Listen(ListenError::Unusable {
                    address,
                    source: source(),
                }),
                4,
            ),
            (ServerError::Node(StartError::Node(held)), 5),
            (ServerError::Open(OpenError::NewerSchema(1 << 17)), 6),
            (
                ServerError::Writer(WriterError::ForeignWriter(Revision::new(2))),
                6,
            ),
            (ServerError::Writer(WriterError::Damaged(String::new())), 6),
            (
                ServerError::Open(OpenError::NoLeader(std::time::Duration::ZERO)),
                7,
            ),
            (ServerError::Node(StartError::Node(full)), 8),
            (ServerError::Stop(NodeError::StopTimeout { seconds: 30 }), 9),
        ] {
            assert_eq!(Exit::from(&error) as u8, code, "{error}");
        }
    }
}
