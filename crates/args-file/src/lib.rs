//! `--args-file FILE`: flags of a program from a file, so that a service starts without a shell.
//!
//! The form is that of the k8s and MicroK8s snaps: words as a shell splits them, usually one `--flag=value` a line;
//! empty lines and lines that begin with `#` mean nothing. `$SNAP`, `$SNAP_DATA` and `$SNAP_COMMON`, also in
//! braces, stand for the environment's values, so that a file that is copied to another revision is right there.
//! Nothing else is expanded or run.
#![forbid(unsafe_code)]

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The largest file that is read.
const MAX_BYTES: u64 = 64 * 1024;

const FLAG: &[u8] = b"--args-file";

/// The longest first: the others are its beginnings.
const VARIABLES: [&str; 3] = ["SNAP_COMMON", "SNAP_DATA", "SNAP"];

#[derive(Debug, thiserror::Error)]
pub enum ArgsFileError {
    #[error("--args-file needs the name of a file")]
    NoName,
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has more than {MAX_BYTES} bytes, so it is no file of arguments")]
    TooLarge { path: PathBuf },
    #[error("{path}, line {line}: a quote is not closed")]
    Quote { path: PathBuf, line: usize },
    #[error("{path}, line {line}: {variable} is not set outside of a snap; write the path itself")]
    Unset {
        path: PathBuf,
        line: usize,
        variable: &'static str,
    },
    #[error("{path}, line {line}: a file of arguments cannot name another one")]
    Nested { path: PathBuf, line: usize },
}

/// The arguments with the words of the files in place of each `--args-file`. `variable` looks one up in the
/// environment.
pub fn expand(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, ArgsFileError> {
    let mut expanded = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            expanded.push(argument);
            expanded.extend(arguments);
            break;
        }
        match argument.as_bytes().strip_prefix(FLAG) {
            Some([]) => {
                let path = arguments.next().ok_or(ArgsFileError::NoName)?;
                expanded.extend(read(Path::new(&path), &variable)?);
            }
            Some([b'=', path @ ..]) if !path.is_empty() => {
                expanded.extend(read(Path::new(OsStr::from_bytes(path)), &variable)?);
            }
            Some(b"=") => return Err(ArgsFileError::NoName),
            _ => expanded.push(argument),
        }
    }
    Ok(expanded)
}

fn read(
    path: &Path,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, ArgsFileError> {
    let failed = |source| ArgsFileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let length = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    if length.map_err(failed)? as u64 > MAX_BYTES {
        return Err(ArgsFileError::TooLarge {
            path: path.to_owned(),
        });
    }
    words_of(path, &text, variable)
}

/// The words of a text. `path` is where it is from, for errors.
pub fn words_of(
    path: &Path,
    text: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, ArgsFileError> {
    let mut words = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (path, line_number) = (path.to_owned(), at + 1);
        // The shell's comments also begin within a line, where a value may have the same sign.
        if line.trim_start().starts_with('#') {
            continue;
        }
        let Some(found) = shlex::split(line) else {
            return Err(ArgsFileError::Quote {
                path,
                line: line_number,
            });
        };
        for word in found {
            if word.as_bytes().starts_with(FLAG) {
                return Err(ArgsFileError::Nested {
                    path,
                    line: line_number,
                });
            }
            let word =
                with_variables(&word, &variable).map_err(|variable| ArgsFileError::Unset {
                    path: path.clone(),
                    line: line_number,
                    variable,
                })?;
            words.push(word);
        }
    }
    Ok(words)
}

/// The error is the name of a variable that is not set.
fn with_variables(
    word: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<OsString, &'static str> {
    let mut expanded = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        expanded.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        match VARIABLES
            .iter()
            .find_map(|name| Some((*name, after(rest, name)?)))
        {
            Some((name, after)) => {
                expanded.extend(variable(name).ok_or(name)?.into_vec());
                rest = after;
            }
            None => {
                expanded.push(b'$');
                rest = &rest[1..];
            }
        }
    }
    expanded.extend_from_slice(rest.as_bytes());
    Ok(OsString::from_vec(expanded))
}

/// Returns the text after `$name` or `${name}`, if it begins with one of them.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    if let Some(braced) = text.strip_prefix("${") {
        return braced.strip_prefix(name)?.strip_prefix('}');
    }
    let rest = text.strip_prefix('$')?.strip_prefix(name)?;
    let goes_on = rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    (!goes_on).then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn in_snap(name: &str) -> Option<OsString> {
        Some(format!("/{}", name.to_lowercase()).into())
    }

    fn split(text: &str) -> Vec<String> {
        let words = words_of(Path::new("args"), text, in_snap).unwrap();
        words
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_is_split_as_a_shell_does() {
        let text = "# comment\n--storage-dir=\"${SNAP_COMMON}/a b\"\n\n  --listen='tcp://127.0.0.1:1' --debug\n";
        assert_eq!(
            split(text),
            [
                "--storage-dir=/snap_common/a b",
                "--listen=tcp://127.0.0.1:1",
                "--debug"
            ]
        );
    }

    #[test]
    fn only_the_snaps_directories_are_expanded() {
        assert_eq!(
            split("$SNAP/x:$SNAP_DATA:${SNAP_COMMON}"),
            ["/snap/x:/snap_data:/snap_common"]
        );
        for literal in [
            "$HOME",
            "$SNAPPY",
            "$SNAP_DATAX",
            "${SNAP",
            "$",
            "${}",
            "$(id)",
            "`id`",
            "a;b|c>d",
        ] {
            assert_eq!(split(literal), [literal]);
        }
        let unset = words_of(Path::new("args"), "a\n$SNAP_DATA", |_| None).unwrap_err();
        assert!(
            unset
                .to_string()
                .starts_with("args, line 2: SNAP_DATA is not set"),
            "{unset}"
        );
    }

    #[test]
    fn the_words_are_where_the_file_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("args");
        fs::write(&file, "--a=1\n--b").unwrap();
        let named = format!("--args-file={}", file.display());
        for arguments in [
            vec!["x", &named, "--c"],
            vec!["x", "--args-file", file.to_str().unwrap(), "--c"],
        ] {
            let expanded = expand(arguments.into_iter().map(OsString::from), in_snap).unwrap();
            assert_eq!(expanded, ["x", "--a=1", "--b", "--c"]);
        }
        let literal = expand(["x", "--", &named].map(OsString::from), in_snap).unwrap();
        assert_eq!(literal, ["x", "--", named.as_str()].map(OsString::from));
    }

    #[test]
    fn what_is_wrong_names_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("args");
        let failure = |text: &str| {
            fs::write(&file, text).unwrap();
            let arguments = ["--args-file", file.to_str().unwrap()].map(OsString::from);
            expand(arguments, in_snap).unwrap_err().to_string()
        };
        assert!(failure("--a\n--b='1").ends_with("args, line 2: a quote is not closed"));
        assert!(
            failure("--args-file=x").contains("line 1: a file of arguments cannot name another")
        );
        assert!(failure(&"x".repeat(MAX_BYTES as usize + 1)).contains("more than 65536 bytes"));
        fs::remove_file(&file).unwrap();
        let arguments = ["--args-file", file.to_str().unwrap()].map(OsString::from);
        assert!(
            expand(arguments, in_snap)
                .unwrap_err()
                .to_string()
                .starts_with("cannot read /")
        );
        assert!(expand(["--args-file"].map(OsString::from), in_snap).is_err());
        assert!(expand(["--args-file="].map(OsString::from), in_snap).is_err());
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[^$\0\n#-][^$\0\n]*", 0..8)) {
            let line = shlex::try_join(words.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(split(&line), words);
        }

        #[test]
        fn no_text_is_more_than_refused(text in "\\PC*") {
            let _ = super::words_of(Path::new("args"), &text, in_snap);
        }
    }
}
