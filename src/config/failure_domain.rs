//! `failure-domain`: an integer. Nodes of one domain are expected to fail together.

use std::path::Path;

use super::{ConfigError, yaml};

const FILE: &str = "failure-domain";

/// Returns the failure domain; 0 without a file.
pub(super) fn read(dir: &Path) -> Result<u64, ConfigError> {
    let path = dir.join(FILE);
    let Some(text) = yaml::read(&path)? else {
        return Ok(0);
    };
    let domain = yaml::parse(&path, &text).map_err(|error| match error {
        ConfigError::Malformed { path, .. } => {
            let reason = "holds something else than an integer from 0 to 2^64-1: write a line \
                          such as 1, or delete the file for domain 0";
            ConfigError::Invalid {
                path,
                reason: reason.to_owned(),
            }
        }
        error => error,
    })?;
    Ok(domain.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn is_an_integer_or_zero() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), 0);
        for (text, expected) in [("7", 7), ("18446744073709551615\n", u64::MAX), ("", 0)] {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert_eq!(read(dir.path()).unwrap(), expected, "{text}");
        }
        for text in ["rack-1", "-1", "1.5", "[1]"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let error = read(dir.path()).unwrap_err().to_string();
            assert!(
                error.contains("/failure-domain: ") && error.contains("integer"),
                "{error}"
            );
        }
    }
}
