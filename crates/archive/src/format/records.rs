//! Leases and settings, which change without a revision of their own.

use bytes::Bytes;
use etcd_state::{
    lease::LeaseCopy,
    mvcc::{LeaseId, Revision},
    settings::{SettingChange, Space},
};

use super::fields::{Fields, put_sized};

const LEASE: u8 = 1;
const LEASE_REMOVED: u8 = 2;
const SETTING: u8 = 3;
const SETTING_REMOVED: u8 = 4;

/// A change beside the keys, and the revision of the store when it took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub revision: Revision,
    pub change: RecordChange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// The lease exists, with this time left.
    Lease(LeaseCopy),
    LeaseRemoved(LeaseId),
    Setting(SettingChange),
}

impl Record {
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.revision.number().to_be_bytes());
        match &self.change {
            RecordChange::Lease(lease) => {
                out.push(LEASE);
                for number in [lease.id.number(), lease.granted_ttl_s, lease.remaining_s] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
            }
            RecordChange::LeaseRemoved(id) => {
                out.push(LEASE_REMOVED);
                out.extend_from_slice(&id.number().to_be_bytes());
            }
            RecordChange::Setting(SettingChange { space, name, value }) => {
                out.push(match value {
                    Some(_) => SETTING,
                    None => SETTING_REMOVED,
                });
                out.push(*space as u8);
                put_sized(out, name);
                if let Some(value) = value {
                    put_sized(out, value);
                }
            }
        }
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let revision = Revision::new(fields.i64()?);
        let change = match fields.u8()? {
            LEASE => RecordChange::Lease(LeaseCopy {
                id: LeaseId::new(fields.i64()?),
                granted_ttl_s: fields.i64()?,
                remaining_s: fields.i64()?,
            }),
            LEASE_REMOVED => RecordChange::LeaseRemoved(LeaseId::new(fields.i64()?)),
            kind @ (SETTING | SETTING_REMOVED) => {
                let space = Space::from_number(fields.u8()?.into())?;
                let name = Bytes::copy_from_slice(fields.sized()?);
                let value = match kind {
                    SETTING => Some(Bytes::copy_from_slice(fields.sized()?)),
                    _ => None,
                };
                RecordChange::Setting(SettingChange { space, name, value })
            }
            _ => return None,
        };
        Some(Self { revision, change })
    }
}
