//! The part of an args file that settings decide. Pure.

/// A flag with its value. Without one, the file does not have the flag.
pub type Flag<'a> = (&'a str, Option<String>);

/// The mark above which the text is left alone: people edit it. The last of a repeated flag counts.
const MARK: &str = "# What follows is written by `snap set`.";

/// Returns the text with these flags in its last part.
pub fn with(text: &str, flags: &[Flag<'_>]) -> String {
    let own = text
        .lines()
        .take_while(|line| *line != MARK)
        .map(str::to_owned);
    let decided = flags.iter().filter_map(|(name, value)| {
        let value = value.as_ref()?;
        Some(format!("{name}={}", quoted(value)))
    });
    let decided: Vec<String> = decided.collect();
    let mut lines: Vec<String> = own.collect();
    if !decided.is_empty() {
        lines.push(MARK.to_owned());
        lines.extend(decided);
    }
    lines.join("\n") + "\n"
}

/// Settings have no quotes in them; places of the snap are written as variables.
fn quoted(value: &str) -> String {
    match value.contains(|c: char| c.is_whitespace() || "#;&|<>*?'()".contains(c)) {
        true => format!("\"{value}\""),
        false => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_part_changes() {
        let own = "# mine\n--listen=tcp://127.0.0.1:1\n";
        let flags = [
            ("--listen", Some("unix:///a b".to_owned())),
            ("--metrics", None),
            ("--log-level", Some("debug".to_owned())),
        ];
        let decided = with(own, &flags);
        assert_eq!(
            decided,
            format!("{own}{MARK}\n--listen=\"unix:///a b\"\n--log-level=debug\n")
        );
        assert_eq!(with(&decided, &flags), decided);
        assert_eq!(with(&decided, &[("--listen", None)]), own);
    }
}
