//! Small YAML files that people write.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use dqlite::files::without_mark;
use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::{ConfigError, bounded};

/// `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let content = match bounded::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let text = String::from_utf8(content)
        .map_err(|_| unreadable(io::Error::new(ErrorKind::InvalidData, "it is no UTF-8")))?;
    Ok(Some(without_mark(&text).to_owned()))
}

/// `None` for an empty document.
pub(super) fn parse<T: DeserializeOwned>(
    path: &Path,
    text: &str,
) -> Result<Option<T>, ConfigError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    serde_yaml::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let mut message = error.to_string();
        if let Some(at) = message.rfind(" at line ") {
            message.truncate(at);
        }
        ConfigError::Malformed {
            path: path.to_owned(),
            line,
            message,
        }
    })
}

/// The keys of a mapping that nobody will read, `outer.inner` if they are in the mapping `outer`.
pub(super) fn unknown_keys(text: &str, known: &[&str]) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Ok(value) = serde_yaml::from_str(text) {
        collect_unknown(&value, "", known, &mut unknown);
    }
    unknown
}

fn collect_unknown(value: &Value, prefix: &str, known: &[&str], unknown: &mut Vec<String>) {
    for (key, value) in value.as_mapping().into_iter().flatten() {
        let Some(key) = key.as_str() else { continue };
        let path = format!("{prefix}{key}");
        if known.contains(&path.as_str()) {
            collect_unknown(value, &format!("{path}."), known, unknown);
        } else {
            unknown.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::bounded::FILE_BYTES_MAX;

    #[test]
    fn what_is_no_file_of_text_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init.yaml");
        assert_eq!(read(&path).unwrap(), None);
        // As some editors write it.
        fs::write(&path, "\u{feff}Address: a").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("Address: a"));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("init.yaml"));
        fs::write(&path, vec![b' '; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("1 MiB"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains("init.yaml") && error.contains("directory"),
            "{error}"
        );
    }

    #[test]
    fn an_error_names_file_and_line_once() {
        let path = Path::new("/d/failure-domain");
        let error = parse::<u64>(path, "# a comment\nmany\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("/d/failure-domain, line 2: invalid type"),
            "{error}"
        );
        assert!(!error.contains("at line"), "{error}");
        let error = parse::<Value>(path, "a: [1,\nb: }")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("/d/failure-domain, line 2: "), "{error}");
    }

    #[test]
    fn unknown_keys_are_found_in_inner_mappings_too() {
        let text = "a: 1\nb: {c: 2, d: 3}\ne: {f: 4}\n";
        assert_eq!(unknown_keys(text, &["a", "b", "b.c"]), ["b.d", "e"]);
        assert!(unknown_keys("just text", &[]).is_empty());
    }
}
