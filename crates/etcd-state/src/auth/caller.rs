//! The sender of a request, and what they may do (`server/etcdserver/apply/auth.go`).

use std::sync::Arc;

use bytes::Bytes;
use etcd_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, request_op::Request,
};

use super::{
    AuthError,
    rules::{Rules, UserRules},
    token::Bearer,
};
use crate::{mvcc::LeaseId, requests::Sender};

/// The keys of a lease; none if there is no such lease.
type LeasedKeys<'a> = &'a dyn Fn(LeaseId) -> Vec<Bytes>;

/// Somebody who sends a request while authentication is on.
#[derive(Debug, Clone)]
pub struct Caller {
    rules: Arc<Rules>,
    /// `None` if the caller sent neither token nor certificate.
    user: Option<String>,
    /// The revision of the rules that the caller's token names, if it does.
    token_revision: Option<u64>,
}

impl Caller {
    pub fn new(rules: Arc<Rules>, user: Option<String>) -> Self {
        Self {
            rules,
            user,
            token_revision: None,
        }
    }

    pub fn with_token(rules: Arc<Rules>, bearer: Bearer) -> Self {
        Self {
            rules,
            user: Some(bearer.user),
            token_revision: bearer.auth_revision,
        }
    }

    pub fn user_name(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub fn is(&self, user: &str) -> bool {
        self.user.as_deref() == Some(user)
    }

    /// Returns what of the caller counts for the size of a write.
    pub fn as_sender(&self) -> Sender {
        match &self.user {
            Some(user) => Sender {
                user_bytes: user.len(),
                auth_revision: self.token_revision.unwrap_or(self.rules.revision),
            },
            None => Sender::default(),
        }
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.known_user()
            .is_ok_and(|user| user.roles.iter().any(|held| held == role))
    }

    /// Fails if the caller did not say who they are.
    pub fn check_user(&self) -> Result<(), AuthError> {
        match &self.user {
            Some(_) => Ok(()),
            None => Err(AuthError::UserEmpty),
        }
    }

    pub fn check_admin(&self) -> Result<(), AuthError> {
        if self.user.as_deref().unwrap_or_default().is_empty() {
            return Err(AuthError::UserEmpty);
        }
        match self.known_user() {
            Ok(user) if user.is_root => Ok(()),
            Ok(_) => Err(AuthError::PermissionDenied),
            Err(_) => Err(AuthError::UserNotFound),
        }
    }

    /// Fails if the token is of rules that this node does not have: newer ones, as a rule.
    pub fn check_current(&self) -> Result<(), AuthError> {
        match self.token_revision {
            Some(revision) if revision != self.rules.revision => Err(AuthError::OldRevision),
            _ => Ok(()),
        }
    }

    /// Returns the rights of a caller whose token is not of older rules.
    fn user(&self) -> Result<&UserRules, AuthError> {
        match self.token_revision {
            Some(0) => Err(AuthError::UserEmpty),
            Some(revision) if revision < self.rules.revision => Err(AuthError::OldRevision),
            _ => self.known_user(),
        }
    }

    fn known_user(&self) -> Result<&UserRules, AuthError> {
        let name = self.user.as_deref().ok_or(AuthError::UserEmpty)?;
        self.rules.user(name).ok_or(AuthError::PermissionDenied)
    }

    pub fn check_read(&self, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        let user = self.user()?;
        permit(user.is_root || user.readable.contains(key, range_end))
    }

    pub fn check_write(&self, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        let user = self.user()?;
        permit(user.is_root || user.writable.contains(key, range_end))
    }

    pub fn check_put(&self, put: &PutRequest, leased: LeasedKeys<'_>) -> Result<(), AuthError> {
        self.check_write(&put.key, &[])?;
        // Or a user could attach a key to a lease that they may not revoke.
        self.check_lease_write(LeaseId::new(put.lease), leased)?;
        if put.prev_kv {
            self.check_read(&put.key, &[])?;
        }
        Ok(())
    }

    pub fn check_delete_range(&self, delete: &DeleteRangeRequest) -> Result<(), AuthError> {
        self.check_write(&delete.key, &delete.range_end)?;
        if delete.prev_kv {
            self.check_read(&delete.key, &delete.range_end)?;
        }
        Ok(())
    }

    /// All branches, whichever is taken.
    pub fn check_txn(&self, txn: &TxnRequest, leased: LeasedKeys<'_>) -> Result<(), AuthError> {
        for Compare { key, range_end, .. } in &txn.compare {
            self.check_read(key, range_end)?;
        }
        for operation in txn.success.iter().chain(&txn.failure) {
            self.check_operation(operation, leased)?;
        }
        Ok(())
    }

    fn check_operation(
        &self,
        operation: &RequestOp,
        leased: LeasedKeys<'_>,
    ) -> Result<(), AuthError> {
        match &operation.request {
            Some(Request::RequestRange(range)) => self.check_read(&range.key, &range.range_end),
            Some(Request::RequestPut(put)) => self.check_put(put, leased),
            Some(Request::RequestDeleteRange(delete)) => self.check_delete_range(delete),
            Some(Request::RequestTxn(txn)) => self.check_txn(txn, leased),
            None => Ok(()),
        }
    }

    /// Fails unless the caller may write every key of the lease.
    pub fn check_lease_write(&self, id: LeaseId, leased: LeasedKeys<'_>) -> Result<(), AuthError> {
        if id.is_none() || self.check_admin().is_ok() {
            return Ok(());
        }
        let keys = leased(id);
        keys.iter().try_for_each(|key| self.check_write(key, &[]))
    }

    /// Fails unless the caller may read every key of the lease.
    pub fn check_lease_read(&self, id: LeaseId, leased: LeasedKeys<'_>) -> Result<(), AuthError> {
        if self.check_admin().is_ok() {
            return Ok(());
        }
        let keys = leased(id);
        keys.iter().try_for_each(|key| self.check_read(key, &[]))
    }
}

fn permit(is_permitted: bool) -> Result<(), AuthError> {
    if is_permitted {
        Ok(())
    } else {
        Err(AuthError::PermissionDenied)
    }
}
