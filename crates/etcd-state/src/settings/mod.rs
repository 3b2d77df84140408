//! The settings, which the cluster stores beside keys and leases: alarms, users and roles, and where
//! clients reach its members. Pure.
//!
//! A setting has a space, a name and a value. The values are etcd's own messages, encoded. There are
//! few of them, so whoever changes one copies them all.

mod alarm;
mod member;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use self::{alarm::change_alarm, member::change_client_urls};

/// The kind of a setting. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i64)]
pub enum Space {
    /// The name is the encoded `AlarmMember`, the value is empty.
    Alarm = 1,
    /// Single values of authentication, by a name of their own.
    Auth = 2,
    /// `authpb.User` by the user's name.
    User = 3,
    /// `authpb.Role` by the role's name.
    Role = 4,
    /// `Member` with its id and client URLs, by the id as eight bytes, the highest first. In a
    /// database of schema 3.0 only: earlier versions take it for damage.
    Member = 5,
}

impl Space {
    pub const ALL: [Self; 5] = [
        Self::Alarm,
        Self::Auth,
        Self::User,
        Self::Role,
        Self::Member,
    ];

    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|space| *space as i64 == number)
    }
}

/// A new value of a setting, or its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    pub space: Space,
    pub name: Bytes,
    pub value: Option<Bytes>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<(Space, Bytes), Bytes>,
}

impl Settings {
    pub fn get(&self, space: Space, name: &[u8]) -> Option<&Bytes> {
        // A lookup by parts of the key would need a key type of its own.
        self.values.get(&(space, Bytes::copy_from_slice(name)))
    }

    /// Names and values of a space, by name.
    pub fn iter(&self, space: Space) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.values
            .range((space, Bytes::new())..)
            .take_while(move |((found, _), _)| *found == space)
            .map(|((_, name), value)| (name, value))
    }

    pub fn apply(&mut self, change: SettingChange) {
        let SettingChange { space, name, value } = change;
        match value {
            Some(value) => self.values.insert((space, name), value),
            None => self.values.remove(&(space, name)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(space: Space, name: &'static str, value: Option<&'static str>) -> SettingChange {
        SettingChange {
            space,
            name: Bytes::from_static(name.as_bytes()),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
        }
    }

    #[test]
    fn spaces_are_apart() {
        let mut settings = Settings::default();
        settings.apply(set(Space::User, "a", Some("1")));
        settings.apply(set(Space::Role, "a", Some("2")));
        settings.apply(set(Space::User, "b", Some("3")));
        settings.apply(set(Space::User, "a", None));
        let names = |space| -> Vec<_> { settings.iter(space).map(|(name, _)| name).collect() };
        assert_eq!(names(Space::User), ["b"]);
        assert_eq!(names(Space::Role), ["a"]);
        assert_eq!(names(Space::Auth), [""; 0]);
        assert_eq!(settings.get(Space::Role, b"a").unwrap(), "2");
        assert_eq!(settings.get(Space::User, b"a"), None);
    }
}
