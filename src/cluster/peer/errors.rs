//! Errors on the way between nodes. The numbers are kept: nodes of two versions talk to each other.

use etcd_state::{auth::AuthError, requests::RequestError};

/// A number that this version does not know.
const UNKNOWN: RequestError = RequestError::TimedOut;

const NUMBERS: [(u32, RequestError); 43] = {
    use AuthError as A;
    use RequestError as E;
    [
        (1, E::EmptyKey),
        (2, E::KeyNotFound),
        (3, E::ValueProvided),
        (4, E::LeaseProvided),
        (5, E::TooManyOperations),
        (6, E::DuplicateKey),
        (7, E::InvalidSortOption),
        (8, E::StreamOrder),
        (9, E::StreamFilters),
        (10, E::Compacted),
        (11, E::FutureRevision),
        (12, E::LeaseNotFound),
        (13, E::LeaseExists),
        (14, E::LeaseTtlTooLarge),
        (15, E::TooLarge),
        (16, E::TooManyRequests),
        (17, E::NoSpace),
        (18, E::TooLargeToDefragment),
        (19, E::Corrupt),
        (20, E::TimedOut),
        (21, E::LeaderLost),
        (22, E::LeaderChanged),
        (23, E::Stopped),
        (100, E::Auth(A::RootUserMissing)),
        (101, E::Auth(A::RootRoleMissing)),
        (102, E::Auth(A::UserExists)),
        (103, E::Auth(A::UserEmpty)),
        (104, E::Auth(A::UserNotFound)),
        (105, E::Auth(A::RoleExists)),
        (106, E::Auth(A::RoleNotFound)),
        (107, E::Auth(A::RoleEmpty)),
        (108, E::Auth(A::Failed)),
        (109, E::Auth(A::NoPasswordUser)),
        (110, E::Auth(A::PasswordTooLong)),
        (111, E::Auth(A::PermissionNotGiven)),
        (112, E::Auth(A::PermissionDenied)),
        (113, E::Auth(A::RoleNotGranted)),
        (114, E::Auth(A::PermissionNotGranted)),
        (115, E::Auth(A::NotEnabled)),
        (116, E::Auth(A::InvalidToken)),
        (117, E::Auth(A::InvalidManagement)),
        (118, E::Auth(A::OldRevision)),
        (119, E::Auth(A::VerifyOnly)),
    ]
};

pub fn number_of(error: RequestError) -> u32 {
    let found = NUMBERS.iter().find(|(_, known)| *known == error);
    found.expect("every error has a number").0
}

pub fn error_of(number: u32) -> RequestError {
    let found = NUMBERS.iter().find(|(known, _)| *known == number);
    found.map_or(UNKNOWN, |(_, error)| *error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_comes_back_as_itself() {
        for (number, error) in NUMBERS {
            assert_eq!((number_of(error), error_of(number)), (number, error));
        }
        assert_eq!(error_of(0), UNKNOWN);
    }
}
