//! One measurement as a line for people or for programs.

use std::fmt::Write;
use std::time::Duration;

use crate::args::Workload;
use crate::workload::Measurement;

pub const HEADING: &str = "workload                          clients    ops/s   p50 ms   p99 ms  \
                           errors  server us/op  client us/op  others cores  RSS MiB  disk KiB/op";

impl Measurement {
    pub fn operations_per_s(&self) -> f64 {
        self.operations as f64 / self.cost.elapsed.as_secs_f64()
    }

    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.quantile(quantile).as_secs_f64() * 1e3
    }

    pub fn server_us_per_operation(&self) -> Option<f64> {
        self.cost.server_cpu.map(|cpu| self.us_per_operation(cpu))
    }

    pub fn client_us_per_operation(&self) -> f64 {
        self.us_per_operation(self.cost.client_cpu)
    }

    pub fn server_rss_mib(&self) -> Option<f64> {
        self.cost
            .server_rss_bytes
            .map(|bytes| bytes as f64 / f64::from(1 << 20))
    }

    /// KiB that the servers had the disk write for each operation.
    pub fn written_kib_per_operation(&self) -> Option<f64> {
        let bytes = self.cost.server_written_bytes? as f64;
        Some(bytes / 1024.0 / self.operations.max(1) as f64)
    }

    fn us_per_operation(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.operations.max(1) as f64
    }
}

pub fn row(workload: &Workload, m: &Measurement) -> String {
    let unknown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    format!(
        "{:<33} {:>7} {:>8.0} {:>8.2} {:>8.2} {:>7} {:>13} {:>13.1} {:>13.2} {:>8} {:>12}",
        workload.title(),
        workload.clients(),
        m.operations_per_s(),
        m.latency_ms(0.5),
        m.latency_ms(0.99),
        m.failures.count,
        unknown(m.server_us_per_operation()),
        m.client_us_per_operation(),
        m.cost.others_cores,
        unknown(m.server_rss_mib()),
        unknown(m.written_kib_per_operation()),
    )
}

pub fn json(server: &str, workload: &Workload, m: &Measurement) -> String {
    let null = |value: Option<f64>| value.map_or("null".to_owned(), |value| format!("{value:.2}"));
    let mut line = String::from("{");
    let mut field = |name: &str, value: String| {
        let comma = if line.len() > 1 { "," } else { "" };
        write!(line, "{comma}\"{name}\":{value}").expect("a String takes any text");
    };
    field("server", quoted(server));
    field("workload", quoted(&workload.title()));
    field("clients", workload.clients().to_string());
    field("seconds", format!("{:.3}", m.cost.elapsed.as_secs_f64()));
    field("operations", m.operations.to_string());
    field(
        "writes",
        m.writes
            .map_or("null".to_owned(), |writes| writes.to_string()),
    );
    field("operations_per_s", format!("{:.1}", m.operations_per_s()));
    field("p50_ms", format!("{:.4}", m.latency_ms(0.5)));
    field("p99_ms", format!("{:.4}", m.latency_ms(0.99)));
    field("max_ms", format!("{:.4}", m.latency_ms(1.0)));
    field("errors", m.failures.count.to_string());
    field("server_us_per_operation", null(m.server_us_per_operation()));
    field(
        "client_us_per_operation",
        format!("{:.2}", m.client_us_per_operation()),
    );
    field("others_cores", format!("{:.2}", m.cost.others_cores));
    field("server_rss_mib", null(m.server_rss_mib()));
    field(
        "written_kib_per_operation",
        null(m.written_kib_per_operation()),
    );
    line.push('}');
    line
}

/// Says on standard error what failed.
pub fn complain(server: &str, workload: &Workload, m: &Measurement) {
    for (kind, count) in &m.failures.kinds {
        eprintln!(
            "{server}, {}, {} clients: {count} x {kind}",
            workload.title(),
            workload.clients()
        );
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control.is_control() => {
                write!(quoted, "\\u{:04x}", u32::from(control)).expect("a String takes any text");
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_json_forbids() {
        assert_eq!(quoted("a \"b\" \\ \n"), r#""a \"b\" \\ \u000a""#);
    }
}
