//! Keys in groups, as Kubernetes names them: `/registry/pods/default/web` is of `/registry/pods/` and, one level
//! deeper, of `/registry/pods/default/`. Pure.

/// Levels that are told apart: Kubernetes has five at most.
pub const MAX_DEPTH: usize = 8;

/// The longest name of a group, in bytes: clients may ask for keys as long as a request. Kubernetes' names have up to 253
/// characters, and are two of a group at most.
const MAX_GROUP_BYTES: usize = 512;

/// The level of the types of Kubernetes' resources, and the one that is used if nobody says which.
pub const RESOURCE_DEPTH: usize = 2;

/// The place of a resource's type, or of its API group, in a key of Kubernetes.
const TYPE_PLACE: usize = 1;

/// Returns the group of a key: its first `depth` levels, with the slash after them. The name of the object itself is no
/// level. An API group, such as `apps.example.com`, is one level with the type after it, and so is `services`. Levels that
/// would make the name longer than [`MAX_GROUP_BYTES`] are left out.
pub fn group_of(key: &[u8], depth: usize) -> &[u8] {
    let ends = level_ends(&key[..key.len().min(MAX_GROUP_BYTES)]).take(depth);
    let end = ends.last().unwrap_or(0);
    &key[..end]
}

/// Returns the depth for the keys that begin with `prefix` if nobody says another: the level below it.
pub fn depth_below(prefix: &[u8]) -> usize {
    // Counted on a group below it: an API group alone is no level.
    let below = [prefix, b"x/"].concat();
    level_ends(&below).count().clamp(RESOURCE_DEPTH, MAX_DEPTH)
}

/// Returns where the levels end, each time after its slash.
fn level_ends(key: &[u8]) -> impl Iterator<Item = usize> {
    let mut start = usize::from(key.first() == Some(&b'/'));
    let mut place = 0;
    std::iter::from_fn(move || {
        loop {
            let length = key[start..].iter().position(|byte| *byte == b'/')?;
            let part = &key[start..start + length];
            let is_first_half =
                place == TYPE_PLACE && (part.contains(&b'.') || part == b"services");
            start += length + 1;
            place += 1;
            if !is_first_half || !key[start..].contains(&b'/') {
                return Some(start);
            }
        }
    })
}

/// Returns a group as text that does not control a terminal. Different groups have different texts.
pub fn shown(group: &[u8]) -> String {
    match std::str::from_utf8(group) {
        Ok(text) if text.chars().all(|it| is_shown(it) && it != '\\') => text.to_owned(),
        _ => group.escape_ascii().to_string(),
    }
}

/// Returns whether a character is seen where it is: no control character, none without a width, and none that turns the
/// direction of the text around it.
pub fn is_shown(character: char) -> bool {
    let is_hidden = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !is_hidden && !character.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_resource_types_and_namespaces() {
        let custom = "/registry/cert-manager.io/certificates/default/web";
        for (key, depth, group) in [
            ("/registry/pods/default/web", 1, "/registry/"),
            ("/registry/pods/default/web", 2, "/registry/pods/"),
            ("/registry/pods/default/web", 3, "/registry/pods/default/"),
            ("/registry/pods/default/web", 8, "/registry/pods/default/"),
            ("/registry/minions/node1", 3, "/registry/minions/"),
            (custom, 2, "/registry/cert-manager.io/certificates/"),
            (custom, 3, "/registry/cert-manager.io/certificates/default/"),
            (
                "/registry/cert-manager.io/x",
                2,
                "/registry/cert-manager.io/",
            ),
            (
                "/registry/services/specs/default/a",
                2,
                "/registry/services/specs/",
            ),
            ("/registry/pods/", 2, "/registry/pods/"),
            ("a/b/c", 1, "a/"),
            ("compact_rev_key", 2, ""),
            ("//", 2, "//"),
            ("", 2, ""),
            ("/", 2, ""),
        ] {
            let found = group_of(key.as_bytes(), depth);
            assert_eq!(shown(found), group, "{key} at {depth}");
        }
    }

    #[test]
    fn the_depth_is_the_level_below_the_prefix() {
        for (prefix, depth) in [
            ("", 2),
            ("/registry/", 2),
            ("/registry/pods/", 3),
            ("/registry/po", 2),
            ("/registry/apps.example.com/", 2),
            ("/registry/apps.example.com/sets/", 3),
            ("/registry/services/", 2),
            ("/registry/services/specs/", 3),
            ("/registry/pods/default/", 4),
            ("/1/2/3/4/5/6/7/8/9/10/", MAX_DEPTH),
        ] {
            assert_eq!(depth_below(prefix.as_bytes()), depth, "{prefix}");
        }
    }

    #[test]
    fn a_group_does_not_control_the_terminal() {
        assert_eq!(shown(b"\x1b[31m/"), "\\x1b[31m/");
        // Turned around, isolated, without a width.
        for hidden in ['\u{202e}', '\u{2066}', '\u{200b}'] {
            let group = format!("/registry/{hidden}sdop/");
            assert!(shown(group.as_bytes()).is_ascii(), "{hidden:?}");
        }
        assert_eq!(shown("/größe/日本/".as_bytes()), "/größe/日本/");
        assert_ne!(shown(b"\\x1b/"), shown(b"\x1b/"));
    }

    #[test]
    fn a_group_is_no_longer_than_its_limit() {
        let long = format!("/a/b/{}/c", "x".repeat(1_000_000));
        assert_eq!(group_of(long.as_bytes(), MAX_DEPTH), b"/a/b/");
        let longest = format!("/{}/", "x".repeat(MAX_GROUP_BYTES - 2));
        let key = format!("{longest}y/z");
        assert_eq!(group_of(key.as_bytes(), MAX_DEPTH), longest.as_bytes());
    }
}
