//! The writer's part of the admission: readings of the quota, and alarms.

use etcd_proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};
use etcd_state::settings::change_alarm;
use stopping::warn;

use super::Writer;
use crate::store::database::Database;

impl Writer {
    /// Reads what the quota is about. Nothing may be on its way to the engine.
    pub(super) async fn read_quota(&mut self, database: &mut Database) {
        let pages = database
            .pages()
            .await
            .inspect_err(|error| warn!(%error, "cannot read the size of the database"));
        self.admission.quota.read(pages.ok());
    }

    pub(super) fn raise_no_space(&mut self) {
        warn!(
            quota_bytes = self.shared.quota.limit_bytes(),
            "the database has reached its quota: writes that could grow it are refused until it is \
             compacted and the alarm NOSPACE is disarmed"
        );
        let request = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: self.shared.member_id,
            alarm: AlarmType::Nospace.into(),
        };
        let (change, _) = change_alarm(&self.settings, &request);
        change.into_iter().for_each(|change| self.set(change));
    }
}
