//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write};

use super::Histogram;

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The page while it is written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    pub fn into_text(self) -> String {
        self.text
    }

    /// Begins a metric. `help` is one line without a backslash.
    pub fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        debug_assert!(!help.contains(['\n', '\\']));
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {}", kind.name()));
    }

    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, Kind::Counter, help);
        self.value(name, value);
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, Kind::Gauge, help);
        self.value(name, value);
    }

    /// A gauge that is 1, and whose label says what there is to say.
    pub fn fact(&mut self, name: &str, help: &str, label: (&str, &str)) {
        self.begin(name, Kind::Gauge, help);
        self.labelled(name, &[label], 1);
    }

    /// `units` of what was observed are one of what is shown: 1,000,000 for microseconds.
    pub fn histogram<const BUCKETS: usize>(
        &mut self,
        name: &str,
        help: &str,
        histogram: &Histogram<BUCKETS>,
        units: u32,
    ) {
        self.begin(name, Kind::Histogram, help);
        self.buckets(name, &[], histogram, units);
    }

    /// The lines of a histogram that was begun, with `labels`.
    pub fn buckets<const BUCKETS: usize>(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        histogram: &Histogram<BUCKETS>,
        units: u32,
    ) {
        let bucket = format!("{name}_bucket");
        let units = f64::from(units);
        let mut within = 0;
        for (bound, count) in histogram.cumulated() {
            let bound = (bound as f64 / units).to_string();
            self.labelled(&bucket, &[labels, &[("le", &bound)]].concat(), count);
            within = count;
        }
        let count = histogram.count(within);
        self.labelled(&bucket, &[labels, &[("le", "+Inf")]].concat(), count);
        let sum = histogram.sum() as f64 / units;
        self.labelled(&format!("{name}_sum"), labels, sum);
        self.labelled(&format!("{name}_count"), labels, count);
    }

    /// A gauge of which one label has all the values that it may have, and 1 at the one that is.
    pub fn states(&mut self, name: &str, help: &str, label: &str, all: &[&str], is: Option<&str>) {
        self.begin(name, Kind::Gauge, help);
        for state in all {
            self.labelled(name, &[(label, state)], u8::from(Some(*state) == is));
        }
    }

    fn value(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name} {value}"));
    }

    pub fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        if labels.is_empty() {
            return self.value(name, value);
        }
        self.text.push_str(name);
        let mut separator = '{';
        for (label, text) in labels {
            let _ = write!(self.text, "{separator}{label}=\"");
            self.escaped(text);
            self.text.push('"');
            separator = ',';
        }
        self.line(format_args!("}} {value}"));
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_so_that_different_ones_stay_different() {
        let mut page = Page::default();
        for label in ["a\"/", "a_/", "a\\/", "a\n/"] {
            page.labelled("m", &[("l", label)], 1);
        }
        assert_eq!(
            page.into_text(),
            "m{l=\"a\\\"/\"} 1\nm{l=\"a_/\"} 1\nm{l=\"a\\\\/\"} 1\nm{l=\"a\\n/\"} 1\n"
        );
    }

    #[test]
    fn the_page_is_in_prometheus_format() {
        let mut page = Page::default();
        page.counter("a_total", "What a is.", 3);
        page.gauge("b", "What b is.", 0.25);
        page.fact("c", "What c is.", ("version", "3.6"));
        page.states("e", "What e is.", "at", &["home", "work"], Some("work"));
        let histogram = Histogram::<2>::new(1000);
        histogram.observe(1500);
        histogram.observe(9000);
        page.histogram("d_seconds", "What d is.", &histogram, 1_000_000);
        assert_eq!(
            page.into_text(),
            "# HELP a_total What a is.\n\
             # TYPE a_total counter\n\
             a_total 3\n\
             # HELP b What b is.\n\
             # TYPE b gauge\n\
             b 0.25\n\
             # HELP c What c is.\n\
             # TYPE c gauge\n\
             c{version=\"3.6\"} 1\n\
             # HELP e What e is.\n\
             # TYPE e gauge\n\
             e{at=\"home\"} 0\n\
             e{at=\"work\"} 1\n\
             # HELP d_seconds What d is.\n\
             # TYPE d_seconds histogram\n\
             d_seconds_bucket{le=\"0.001\"} 0\n\
             d_seconds_bucket{le=\"0.002\"} 1\n\
             d_seconds_bucket{le=\"+Inf\"} 2\n\
             d_seconds_sum 0.0105\n\
             d_seconds_count 2\n"
        );
    }
}
