//! Decides which writes are accepted: checks alarms, the quota and the free disk space before a
//! request is evaluated. The order is that of etcd's appliers (`server/etcdserver/apply`).

use etcd_proto::etcdserverpb::{AlarmType, RequestOp, TxnRequest, request_op::Request};
use etcd_state::{requests::RequestError, settings::Settings};

use super::{
    command::Command,
    quota::{Quota, QuotaBytes, Verdict, cost_bytes},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Take,
    Refuse(RequestError),
    /// Refuse it, and raise the alarm NOSPACE.
    QuotaExceeded,
    /// Ask again after a reading of the quota.
    Wait,
}

#[derive(Debug)]
pub struct Admission {
    pub quota: Quota,
    is_space_exceeded: bool,
    is_corrupt: bool,
}

impl Admission {
    pub fn new(quota: QuotaBytes, settings: &Settings) -> Self {
        let mut admission = Self {
            quota: Quota::new(quota),
            is_space_exceeded: false,
            is_corrupt: false,
        };
        admission.note_alarms(settings);
        admission
    }

    /// Notes the alarms of all members.
    pub fn note_alarms(&mut self, settings: &Settings) {
        self.is_space_exceeded = !settings.alarms(AlarmType::Nospace).is_empty();
        self.is_corrupt = !settings.alarms(AlarmType::Corrupt).is_empty();
    }

    pub fn is_corrupt(&self) -> bool {
        self.is_corrupt
    }

    pub fn decide(&mut self, command: &Command, is_disk_low: bool) -> Decision {
        if self.is_corrupt && is_write(command) {
            return Decision::Refuse(RequestError::Corrupt);
        }
        let cost_bytes = cost_bytes(command);
        if cost_bytes == 0 {
            return Decision::Take;
        }
        if self.is_space_exceeded || is_disk_low {
            return Decision::Refuse(RequestError::NoSpace);
        }
        match self.quota.judge(cost_bytes) {
            Verdict::Fits => Decision::Take,
            Verdict::Exceeds => Decision::QuotaExceeded,
            Verdict::Unknown => Decision::Wait,
        }
    }
}

/// Returns whether the alarm CORRUPT refuses the command.
fn is_write(command: &Command) -> bool {
    match command {
        Command::Txn(call) => writes(&call.request),
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::LeaseGrant(_)
        | Command::LeaseRevoke(_)
        | Command::Compact(_) => true,
        _ => false,
    }
}

fn writes(txn: &TxnRequest) -> bool {
    let operations = txn.success.iter().chain(&txn.failure);
    operations
        .into_iter()
        .any(|operation: &RequestOp| match &operation.request {
            Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => true,
            Some(Request::RequestTxn(txn)) => writes(txn),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use etcd_proto::etcdserverpb::{AlarmMember, DeleteRangeRequest, PutRequest, RangeRequest};
    use etcd_state::mvcc::Revision;
    use prost::Message;

    use super::*;
    use crate::store::{
        command::{self, Compact, LeaseGrant, LeaseRevoke},
        reply::ReplySender,
    };
    use etcd_state::{
        mvcc::LeaseId,
        settings::{SettingChange, Space},
    };

    fn raised(alarm: AlarmType) -> Settings {
        let alarm = AlarmMember {
            member_id: 9,
            alarm: alarm.into(),
        };
        let mut settings = Settings::default();
        settings.apply(SettingChange {
            space: Space::Alarm,
            name: alarm.encode_to_vec().into(),
            value: Some(Default::default()),
        });
        settings
    }

    fn command(request: impl command::Request) -> Command {
        request.into_command(ReplySender::new(None).0)
    }

    fn commands() -> [Command; 6] {
        let range = RequestOp {
            request: Some(Request::RequestRange(RangeRequest::default())),
        };
        let read_only = TxnRequest {
            success: vec![range],
            ..Default::default()
        };
        let id = LeaseId::new(1);
        let compact = Compact {
            revision: Revision::new(1),
            physical: false,
        };
        [
            command(PutRequest::default()),
            command(LeaseGrant { id, ttl_s: 1 }),
            command(DeleteRangeRequest::default()),
            command(compact),
            command(LeaseRevoke { id }),
            command(read_only),
        ]
    }

    #[test]
    fn without_space_only_what_grows_is_refused() {
        let refused = Decision::Refuse(RequestError::NoSpace);
        let expected = [refused, refused].into_iter().chain([Decision::Take; 4]);
        let alarmed = raised(AlarmType::Nospace);
        for (settings, is_disk_low) in [(&alarmed, false), (&Settings::default(), true)] {
            let mut admission = Admission::new(QuotaBytes(-1), settings);
            for (command, expected) in commands().iter().zip(expected.clone()) {
                assert_eq!(
                    admission.decide(command, is_disk_low),
                    expected,
                    "{command:?}"
                );
            }
        }
    }

    #[test]
    fn when_corrupt_only_reads_are_taken() {
        let mut admission = Admission::new(QuotaBytes(-1), &raised(AlarmType::Corrupt));
        let taken = commands().map(|command| admission.decide(&command, false) == Decision::Take);
        assert_eq!(taken, [false, false, false, false, false, true]);
        admission.note_alarms(&Settings::default());
        assert!(
            commands()
                .iter()
                .all(|command| admission.decide(command, false) == Decision::Take)
        );
    }
}
