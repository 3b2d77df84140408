//! The shape of an output: what remains of it when ids, numbers, dates and the width of columns are other ones.

use regex::Regex;

/// Returns whether a line of an output has the shape of one of a page, in which `…` stands for anything.
pub fn is_alike(shown: &str, printed: &str) -> bool {
    pattern(shown).is_match(printed.trim_end())
}

/// Words that change from run to run, the longer ones first.
const CHANGING: &str = r"(?x)
    (?P<any> … )
    | (?P<date> \d{4}-\d\d-\d\d )
    | (?P<id> \b[0-9a-f]{16}\b )
    | (?P<number> \d+(?:\.\d+)? (?:\ (?:B|bytes|KiB|MiB|GiB)\b)? )
    | (?P<space> \s+ )";

fn pattern(shown: &str) -> Regex {
    let changing = Regex::new(CHANGING).expect("a constant");
    let mut text = String::new();
    let mut end = 0;
    for found in changing.captures_iter(shown.trim_end()) {
        let whole = found.get(0).expect("the match");
        text += &regex::escape(&shown[end..whole.start()]);
        end = whole.end();
        text += if found.name("any").is_some() {
            ".*"
        } else if found.name("date").is_some() {
            r"\d{4}-\d\d-\d\d"
        } else if found.name("id").is_some() {
            "[0-9a-f]{1,16}"
        } else if found.name("number").is_some() {
            r"\d+(?:\.\d+)?(?: (?:B|bytes|KiB|MiB|GiB))?"
        } else {
            r"\s+"
        };
    }
    text += &regex::escape(shown.trim_end().get(end..).unwrap_or_default());
    Regex::new(&format!("^{text}$")).expect("escaped")
}

/// Returns the first line of the page that the output lacks, in order. A line `…` stands for any lines.
pub fn missing<'a>(shown: &[&'a str], printed: &str) -> Option<&'a str> {
    let mut rest = printed.lines().filter(|line| !line.trim().is_empty());
    let lines = shown.iter().filter(|line| !line.trim().is_empty());
    let mut is_open = false;
    for line in lines {
        if line.trim() == "…" {
            is_open = true;
            continue;
        }
        let found = match is_open {
            true => rest.any(|printed| is_alike(line, printed)),
            false => rest.next().is_some_and(|printed| is_alike(line, printed)),
        };
        if !found {
            return Some(line);
        }
        is_open = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_numbers_dates_and_widths_may_be_others() {
        let shown =
            "3c07be915fa2d684 *  10.0.0.1:29001  voter  48211  24 MiB  2027-11-20, in 354 days";
        assert!(is_alike(
            shown,
            "8fd9a0e4b1c27735 * 10.0.0.2:29002 voter 3 512 bytes 2036-11-29, in 3650 days  "
        ));
        assert!(!is_alike(
            shown,
            "8fd9a0e4b1c27735 * 10.0.0.2:29002 spare 3 512 bytes 2036-11-29, in 3650 days"
        ));
        assert!(is_alike("error: … (code 3)", "error: a.yaml (code 3)"));
        assert_eq!(missing(&["a", "…", "c 1"], "a\nb\nb\nc 22\n"), None);
        assert_eq!(missing(&["a", "c 1"], "a\nb\nc 22\n"), Some("c 1"));
    }
}
