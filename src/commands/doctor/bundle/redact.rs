//! Takes out of texts what must not leave the machine: private keys, passwords, tokens, and names of keys in the store.
//! Pure.

use std::path::Path;

const REMOVED: &str = "[removed]";

/// Fields of log lines that have keys of the store: the text from the field's name to the next field goes.
const REQUEST: (&str, &str) = (" request=", " response=");

/// Names of fields, and of a label of metrics, whose quoted text is a key of the store or the beginning of one.
const KEY_FIELDS: [&str; 4] = ["key:\"", "range_end:\"", "key=\"", "prefix=\""];

/// Parts of names of settings whose values are secret.
const SECRET_NAMES: [&str; 4] = ["password", "secret", "token", "private"];

/// Beginnings of paths of files; other words with a slash at their beginning may be keys of the store.
const FILE_ROOTS: [&str; 16] = [
    "/bin/", "/dev/", "/etc/", "/home/", "/lib", "/media/", "/mnt/", "/opt/", "/proc/", "/root/",
    "/run/", "/snap/", "/srv/", "/sys/", "/usr/", "/var/",
];

/// Returns the text without secrets. `dirs`: directories whose files may be named.
pub fn redacted(text: &str, dirs: &[&Path]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut in_pem = false;
    for line in text.lines() {
        if line.contains("-----BEGIN ") {
            in_pem = true;
            result += REMOVED;
            result.push('\n');
        }
        if !in_pem {
            result += &redacted_line(line, dirs);
            result.push('\n');
        }
        if line.contains("-----END ") {
            in_pem = false;
        }
    }
    result
}

fn redacted_line(line: &str, dirs: &[&Path]) -> String {
    let line = without_request(&without_colours(line));
    let line = KEY_FIELDS
        .iter()
        .fold(line, |line, field| without_quoted(&line, field));
    if let Some(value) = secret_value(&line) {
        return format!("{}{REMOVED}", &line[..value]);
    }
    let words = line.split_inclusive([' ', '=', ',', '"', '\'', '(', '[']);
    words.map(|word| without_key(word, dirs)).collect()
}

/// Removes the sequences with which a terminal shows colours: they are inside of the names of fields.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic());
        result += end.map_or("", |end| &part[end + 1..]);
    }
    result
}

fn without_request(line: &str) -> String {
    let (begin, end) = REQUEST;
    let Some(at) = line.find(begin) else {
        return line.to_owned();
    };
    let from = at + begin.len();
    // The last one: a key may have the text of the next field's name.
    let to = line
        .rfind(end)
        .filter(|to| *to >= from)
        .unwrap_or(line.len());
    format!("{}{REMOVED}{}", &line[..from], &line[to..])
}

/// Removes what is in the quotes that the field's name opens.
fn without_quoted(line: &str, field: &str) -> String {
    let mut result = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(field) {
        let from = at + field.len();
        result += &rest[..from];
        result += REMOVED;
        let mut is_escaped = false;
        let end = rest[from..].find(|c: char| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        rest = end.map_or("", |end| &rest[from + end..]);
    }
    result + rest
}

/// Returns where the value of a secret setting begins.
fn secret_value(line: &str) -> Option<usize> {
    let at = line.find([':', '='])?;
    let name = line[..at].to_ascii_lowercase();
    // The name of a setting is one word.
    let name = name.trim().trim_start_matches('-');
    let is_secret = !name.contains(' ') && SECRET_NAMES.iter().any(|secret| name.contains(secret));
    is_secret.then_some(at + 1)
}

/// Removes a word that may be a key of the store.
fn without_key(word: &str, dirs: &[&Path]) -> String {
    let is_file = |word: &str| {
        FILE_ROOTS.iter().any(|root| word.starts_with(root))
            || dirs
                .iter()
                .any(|dir| word.starts_with(&*dir.to_string_lossy()))
    };
    let separators = [' ', '=', ',', '"', '\'', '(', '['];
    let text = word.trim_end_matches(separators);
    match text.len() > 1 && text.starts_with('/') && !is_file(text) {
        false => word.to_owned(),
        true => format!("{REMOVED}{}", &word[text.len()..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        redacted(text, &[Path::new("/data/node")])
            .trim_end()
            .to_owned()
    }

    #[test]
    fn keys_of_requests_go_and_the_rest_stays() {
        for (text, left) in [
            (
                "slow \x1b[3mrequest\x1b[0m\x1b[2m=\x1b[0m\"key:\\\"x\\\"\" \x1b[3mresponse\x1b[0m\x1b[2m=\x1b[0msize:1",
                "slow request=[removed] response=size:1",
            ),
            (
                "WARN apply request took too long took=3ms request=key:\"/r/x\" value_size:5 response=size:28 code:0",
                "WARN apply request took too long took=3ms request=[removed] response=size:28 code:0",
            ),
            (
                "a request=\"key:\\\"x response=\\\" \" response=size:1",
                "a request=[removed] response=size:1",
            ),
            (
                "loading key:\"a\\\"b\" done",
                "loading key:\"[removed]\" done",
            ),
            (
                "watch on /registry/pods/a, slow",
                "watch on [removed], slow",
            ),
            (
                "opened /data/node/open-1 and /var/lib/x",
                "opened /data/node/open-1 and /var/lib/x",
            ),
            (
                "k8s_dqlite_top_keys{prefix=\"customers/acme/\"} 5",
                "k8s_dqlite_top_keys{prefix=\"[removed]\"} 5",
            ),
            ("path=\"/registry/a\"", "path=\"[removed]\""),
            ("a / b", "a / b"),
        ] {
            assert_eq!(line(text), left);
        }
    }

    #[test]
    fn secrets_in_settings_go() {
        assert_eq!(line("join-token: abc"), "join-token:[removed]");
        assert_eq!(line("  Password = x"), "  Password =[removed]");
        assert_eq!(line("Address: 127.0.0.1:9000"), "Address: 127.0.0.1:9000");
    }

    #[test]
    fn private_keys_go_even_if_cut() {
        let pem = "a\n-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nb\n";
        assert_eq!(redacted(pem, &[]), "a\n[removed]\nb\n");
        assert_eq!(redacted("-----BEGIN X-----\nMIIE", &[]), "[removed]\n");
    }
}
