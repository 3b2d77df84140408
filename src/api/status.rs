//! The one table from errors to gRPC status. clientv3 finds its typed errors by the exact text, so
//! these are etcd's (`api/v3rpc/rpctypes/error.go`).

use etcd_state::{
    auth::AuthError,
    requests::{Limits, RequestError},
};
use stopping::warn;
use tonic::{Code, Status};

use super::concurrency::RecipeError;
use super::downgrade::DowngradeError;
use crate::cluster::node::MembershipError;

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
        E::TooManyRequests => return too_many_requests(),
        E::Auth(error) => return auth_status(error),
        E::NoSpace => (
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        ),
        E::TooLargeToDefragment => (
            Code::FailedPrecondition,
            "k8s-dqlite: more than 128 MiB are in use, and rewriting them would block all writes; free pages are reused without defragmentation",
        ),
        E::Corrupt => (Code::DataLoss, "etcdserver: corrupt cluster"),
        E::TimedOut => (Code::Unavailable, "etcdserver: request timed out"),
        E::LeaderLost => (
            Code::Unavailable,
            "etcdserver: request timed out, possibly due to previous leader failure",
        ),
        E::LeaderChanged => (Code::Unavailable, "etcdserver: leader changed"),
        E::Stopped => (Code::Unavailable, "etcdserver: server stopped"),
    };
    Status::new(code, text)
}

/// Returns the answer to a request that the server has no room for; clients repeat it.
pub fn too_many_requests() -> Status {
    Status::resource_exhausted("etcdserver: too many requests")
}

pub fn membership_status(error: MembershipError) -> Status {
    use MembershipError as E;
    let (code, text) = match error {
        E::NotFound => (Code::NotFound, "etcdserver: member not found"),
        E::NotLearner => (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member",
        ),
        // The one that etcd 3.6 has not given a code.
        E::NotEnoughStarted => (
            Code::Unknown,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        E::BadUrls => (
            Code::InvalidArgument,
            "etcdserver: given member URLs are invalid",
        ),
        E::UrlsExist => (
            Code::FailedPrecondition,
            "etcdserver: Peer URLs already exists",
        ),
        E::JoinsByItself => (
            Code::FailedPrecondition,
            "k8s-dqlite: a node cannot be added by a request: it joins by itself when it starts with an init.yaml that names another node",
        ),
        E::FixedAddress => (
            Code::FailedPrecondition,
            "k8s-dqlite: the address of a node cannot be changed by a request: stop the node, write the new one into update.yaml of its storage directory, and start it",
        ),
        E::BadTransferee => (
            Code::FailedPrecondition,
            "etcdserver: bad leader transferee",
        ),
        E::NotLeader => (Code::FailedPrecondition, "etcdserver: not leader"),
        E::Engine(error) => {
            warn!(%error, "dqlite did not answer about the cluster");
            (Code::Unavailable, "etcdserver: request timed out")
        }
    };
    Status::new(code, text)
}

pub fn downgrade_status(error: DowngradeError) -> Status {
    use DowngradeError as E;
    let (code, text) = match error {
        E::WrongFormat => (
            Code::InvalidArgument,
            "etcdserver: wrong downgrade target version format",
        ),
        E::InvalidTarget => (
            Code::InvalidArgument,
            "etcdserver: invalid downgrade target version",
        ),
        E::UnknownMethod => (Code::Unknown, "etcdserver: unknown method"),
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
        E::OldRevision => (
            Code::InvalidArgument,
            "etcdserver: revision of auth store is old",
        ),
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
        // Nor has this one.
        E::VerifyOnly => (
            Code::Unknown,
            "auth: token signing attempted with verify-only key",
        ),
        // etcd tells a wrong password.
        E::NotSigned => (
            Code::Internal,
            "k8s-dqlite: the token was not signed: check the key of --auth-token",
        ),
        E::InvalidToken => (Code::Unauthenticated, "etcdserver: invalid auth token"),
        E::InvalidManagement => (Code::InvalidArgument, "etcdserver: invalid auth management"),
    };
    Status::new(code, text)
}

/// etcd asks itself through a client for locks and elections, which loses the code of an error.
pub fn recipe_status(error: RecipeError) -> Status {
    use RecipeError as E;
    let text = match error {
        E::Request(error) => {
            let status = status(error);
            // Kept, because clients go on elsewhere.
            if status.code() == Code::Unavailable {
                return status;
            }
            return Status::unknown(status.message());
        }
        E::LeaderMissing => "\"leader\" field must be provided",
        E::NoLeader => "election: no leader",
        E::NotLeader => "election: not leader",
        E::SessionExpired => "mutex: session is expired",
    };
    Status::unknown(text)
}

/// Fails as grpc-go does if a message is above its limit.
pub fn check_received(size_bytes: usize, limits: Limits) -> Result<(), Status> {
    let max_bytes = limits.max_received_bytes();
    if size_bytes <= max_bytes {
        return Ok(());
    }
    Err(too_large_to_receive(size_bytes, max_bytes))
}

/// Returns grpc-go's answer to a message above its limit.
pub fn too_large_to_receive(size_bytes: usize, max_bytes: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({size_bytes} vs. {max_bytes})"
    ))
}

/// The largest answer, in bytes: etcd's `maxSendBytes`, which is as much as gRPC in Go can take.
const MAX_SENT_BYTES: usize = i32::MAX as usize;

/// Fails as grpc-go does if an answer is above its limit.
pub fn check_sent(size_bytes: usize) -> Result<(), Status> {
    if size_bytes <= MAX_SENT_BYTES {
        return Ok(());
    }
    Err(Status::resource_exhausted(format!(
        "trying to send message larger than max ({size_bytes} vs. {MAX_SENT_BYTES})"
    )))
}
