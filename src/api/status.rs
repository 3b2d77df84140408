//! The one table from errors to gRPC status. clientv3 finds its typed errors by the exact text, so
//! these are etcd's (`api/v3rpc/rpctypes/error.go`).

use tonic::{Code, Status};

use crate::{auth::AuthError, store::RequestError};

/// etcd's limit on what it receives: its request limit and 512 KiB for gRPC.
pub const MAX_RECEIVED_BYTES: usize = crate::store::MAX_REQUEST_BYTES + 512 * 1024;

pub fn status(error: RequestError) -> Status {
    use RequestError as E;
    let (code, text) = match error {
        E::EmptyKey => (Code::InvalidArgument, "etcdserver: key is not provided"),
        E::KeyNotFound => (Code::InvalidArgument, "etcdserver: key not found"),
        E::ValueProvided => (Code::InvalidArgument, "etcdserver: value is provided"),
        E::LeaseProvided => (Code::InvalidArgument, "etcdserver: lease is provided"),
        E::TooManyOperations => (
            Code::InvalidArgument,
            "etcdserver: too many operations in txn request",
        ),
        E::DuplicateKey => (
            Code::InvalidArgument,
            "etcdserver: duplicate key given in txn request",
        ),
        E::InvalidSortOption => (Code::InvalidArgument, "etcdserver: invalid sort option"),
        E::StreamOrder => (
            Code::Unimplemented,
            "RangeStream does not support custom sort orders",
        ),
        E::StreamFilters => (
            Code::Unimplemented,
            "RangeStream does not support revision filters",
        ),
        E::Compacted => (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
        ),
        E::FutureRevision => (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        E::LeaseNotFound => (Code::NotFound, "etcdserver: requested lease not found"),
        E::LeaseExists => (Code::FailedPrecondition, "etcdserver: lease already exists"),
        E::LeaseTtlTooLarge => (Code::OutOfRange, "etcdserver: too large lease TTL"),
        E::TooLarge => (Code::InvalidArgument, "etcdserver: request is too large"),
        E::TooManyRequests => (Code::ResourceExhausted, "etcdserver: too many requests"),
        E::Auth(error) => return auth_status(error),
        E::NoSpace => (
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        ),
        E::TimedOut => (Code::Unavailable, "etcdserver: request timed out"),
        E::Stopped => (Code::Unavailable, "etcdserver: server stopped"),
    };
    Status::new(code, text)
}

fn auth_status(error: AuthError) -> Status {
    use AuthError as E;
    let (code, text) = match error {
        E::RootUserMissing => (
            Code::FailedPrecondition,
            "etcdserver: root user does not exist",
        ),
        E::RootRoleMissing => (
            Code::FailedPrecondition,
            "etcdserver: root user does not have root role",
        ),
        E::UserExists => (
            Code::FailedPrecondition,
            "etcdserver: user name already exists",
        ),
        E::UserEmpty => (Code::InvalidArgument, "etcdserver: user name is empty"),
        E::UserNotFound => (Code::FailedPrecondition, "etcdserver: user name not found"),
        E::RoleExists => (
            Code::FailedPrecondition,
            "etcdserver: role name already exists",
        ),
        E::RoleNotFound => (Code::FailedPrecondition, "etcdserver: role name not found"),
        E::RoleEmpty => (Code::InvalidArgument, "etcdserver: role name is empty"),
        E::Failed => (
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
        ),
        // These two have no text of their own in etcd's table.
        E::NoPasswordUser => (
            Code::Unknown,
            "auth: authentication failed, password was given for no password user",
        ),
        E::PasswordTooLong => (Code::Unknown, "bcrypt: password length exceeds 72 bytes"),
        E::PermissionNotGiven => (Code::InvalidArgument, "etcdserver: permission not given"),
        E::PermissionDenied => (Code::PermissionDenied, "etcdserver: permission denied"),
        E::RoleNotGranted => (
            Code::FailedPrecondition,
            "etcdserver: role is not granted to the user",
        ),
        E::PermissionNotGranted => (
            Code::FailedPrecondition,
            "etcdserver: permission is not granted to the role",
        ),
        E::NotEnabled => (
            Code::FailedPrecondition,
            "etcdserver: authentication is not enabled",
        ),
        E::InvalidToken => (Code::Unauthenticated, "etcdserver: invalid auth token"),
        E::InvalidManagement => (Code::InvalidArgument, "etcdserver: invalid auth management"),
    };
    Status::new(code, text)
}

/// What grpc-go answers to a message above its limit.
pub fn check_received(size_bytes: usize) -> Result<(), Status> {
    if size_bytes <= MAX_RECEIVED_BYTES {
        return Ok(());
    }
    Err(Status::resource_exhausted(format!(
        "grpc: received message larger than max ({size_bytes} vs. {MAX_RECEIVED_BYTES})"
    )))
}
