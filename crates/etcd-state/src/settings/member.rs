//! The client URLs of members, as etcd keeps them (`server/etcdserver/api/membership`). Each member
//! publishes its own, and who knows the cluster's members forgets those of the others.

use bytes::Bytes;
use etcd_proto::etcdserverpb::Member;
use prost::Message;

use super::{SettingChange, Settings, Space};

impl Settings {
    /// Returns the client URLs that a member has published.
    pub fn client_urls(&self, member_id: u64) -> Vec<String> {
        let stored = self.get(Space::Member, &name(member_id));
        let member = stored.and_then(|stored| Member::decode(stored.clone()).ok());
        member.map_or_else(Vec::new, |member| member.client_ur_ls)
    }

    /// Returns the ids of the members that have published client URLs.
    pub fn published(&self) -> impl Iterator<Item = u64> {
        self.iter(Space::Member)
            .filter_map(|(name, _)| Some(u64::from_be_bytes(name[..].try_into().ok()?)))
    }
}

/// Returns the change that a member's client URLs make, if any. Without URLs the member is forgotten.
pub fn change_client_urls(
    settings: &Settings,
    member_id: u64,
    client_urls: &[String],
) -> Option<SettingChange> {
    if settings.client_urls(member_id) == client_urls {
        return None;
    }
    let member = Member {
        id: member_id,
        client_ur_ls: client_urls.to_vec(),
        ..Default::default()
    };
    Some(SettingChange {
        space: Space::Member,
        name: name(member_id),
        value: (!client_urls.is_empty()).then(|| member.encode_to_vec().into()),
    })
}

fn name(member_id: u64) -> Bytes {
    Bytes::copy_from_slice(&member_id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_urls_are_kept_until_others_are_published() {
        let mut settings = Settings::default();
        let mut publish = |id, urls: &[&str]| {
            let urls: Vec<_> = urls.iter().map(ToString::to_string).collect();
            let change = change_client_urls(&settings, id, &urls);
            let is_changed = change.is_some();
            change.into_iter().for_each(|change| settings.apply(change));
            assert_eq!(settings.client_urls(id), urls);
            (is_changed, settings.published().collect::<Vec<_>>())
        };
        assert_eq!(publish(1, &[]), (false, vec![]));
        assert_eq!(publish(1, &["http://a:1", "http://b:1"]), (true, vec![1]));
        assert_eq!(publish(1, &["http://a:1", "http://b:1"]), (false, vec![1]));
        assert_eq!(
            publish(u64::MAX, &["http://c:1"]),
            (true, vec![1, u64::MAX])
        );
        assert_eq!(publish(1, &["http://b:1"]), (true, vec![1, u64::MAX]));
        assert_eq!(publish(1, &[]), (true, vec![u64::MAX]));
    }
}
