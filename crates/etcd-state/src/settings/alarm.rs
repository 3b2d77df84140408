//! Alarms that are raised, as etcd keeps them (`server/etcdserver/api/v3alarm`).

use bytes::Bytes;
use etcd_proto::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType, alarm_request::AlarmAction};
use prost::Message;

use super::{SettingChange, Settings, Space};

impl Settings {
    /// The alarms of a kind; all for `None`.
    pub fn alarms(&self, kind: AlarmType) -> Vec<AlarmMember> {
        self.iter(Space::Alarm)
            .filter_map(|(name, _)| AlarmMember::decode(name.clone()).ok())
            .filter(|alarm| kind == AlarmType::None || alarm.alarm() == kind)
            .collect()
    }
}

/// Returns the change that an alarm request makes, and the alarms that it is answered with.
pub fn change_alarm(
    settings: &Settings,
    request: &AlarmRequest,
) -> (Option<SettingChange>, Vec<AlarmMember>) {
    let alarm = AlarmMember {
        member_id: request.member_id,
        alarm: request.alarm,
    };
    let name = Bytes::from(alarm.encode_to_vec());
    let is_raised = settings.get(Space::Alarm, &name).is_some();
    let change = |value| SettingChange {
        space: Space::Alarm,
        name,
        value,
    };
    match request.action() {
        AlarmAction::Get => (None, settings.alarms(request.alarm())),
        AlarmAction::Activate if alarm.alarm() == AlarmType::None => (None, Vec::new()),
        AlarmAction::Activate if is_raised => (None, vec![alarm]),
        AlarmAction::Activate => (Some(change(Some(Bytes::new()))), vec![alarm]),
        AlarmAction::Deactivate if is_raised => (Some(change(None)), vec![alarm]),
        AlarmAction::Deactivate => (None, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: AlarmAction, member_id: u64, alarm: AlarmType) -> AlarmRequest {
        AlarmRequest {
            action: action.into(),
            member_id,
            alarm: alarm.into(),
        }
    }

    fn member(member_id: u64, alarm: AlarmType) -> AlarmMember {
        AlarmMember {
            member_id,
            alarm: alarm.into(),
        }
    }

    #[test]
    fn an_alarm_is_raised_once_and_lowered_once() {
        use AlarmAction::{Activate, Deactivate, Get};
        use AlarmType::{Corrupt, None, Nospace};
        let mut settings = Settings::default();
        let mut ask = |action, member_id, alarm| {
            let (change, alarms) = change_alarm(&settings, &request(action, member_id, alarm));
            let is_changed = change.is_some();
            change.into_iter().for_each(|change| settings.apply(change));
            (is_changed, alarms)
        };
        assert_eq!(ask(Activate, 7, Nospace), (true, vec![member(7, Nospace)]));
        assert_eq!(ask(Activate, 7, Nospace), (false, vec![member(7, Nospace)]));
        assert_eq!(ask(Activate, 8, Corrupt), (true, vec![member(8, Corrupt)]));
        assert_eq!(ask(Activate, 8, None), (false, vec![]));
        assert_eq!(ask(Get, 0, Nospace), (false, vec![member(7, Nospace)]));
        assert_eq!(ask(Get, 0, None).1.len(), 2);
        assert_eq!(ask(Deactivate, 8, Nospace), (false, vec![]));
        assert_eq!(
            ask(Deactivate, 7, Nospace),
            (true, vec![member(7, Nospace)])
        );
        assert_eq!(ask(Get, 0, None), (false, vec![member(8, Corrupt)]));
    }
}
