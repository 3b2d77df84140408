//! The part of a URL after the question mark.

/// Names and values as they were sent: those of these endpoints have nothing that is escaped.
#[derive(Debug, Default)]
pub(super) struct Query(String);

impl Query {
    pub fn new(text: Option<String>) -> Self {
        Self(text.unwrap_or_default())
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    pub fn has(&self, name: &str) -> bool {
        self.pairs().any(|(found, _)| found == name)
    }

    /// Returns whether `name` is given with this value, perhaps among others.
    pub fn lists(&self, name: &str, value: &str) -> bool {
        self.pairs().any(|pair| pair == (name, value))
    }

    /// Returns the first value of `name`.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.pairs()
            .find_map(|(found, value)| (found == name).then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_repeated_or_without_a_value() {
        let query = Query::new(Some("exclude=a&exclude=b&verbose&x=1&x=2".to_owned()));
        assert!(query.lists("exclude", "a") && query.lists("exclude", "b"));
        assert!(!query.lists("exclude", "c"));
        assert!(query.has("verbose") && !query.has("verb"));
        assert_eq!(query.first("x"), Some("1"));
        assert_eq!(query.first("y"), None);
        assert!(!Query::new(None).has("verbose"));
    }
}
