//! Rows as text: columns under their headings, CSV, and numbers as Go prints them. Pure.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use comfy_table::{Table, presets::NOTHING};

/// Blanks between two columns.
const GAP: u16 = 2;

/// Returns columns under their headings, each row on one line.
pub fn columns(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings.to_vec());
    for row in rows {
        table.add_row(row.into_iter().map(|text| text.replace('\n', "\\n")));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table.trim_fmt() + "\n"
}

/// Returns a line of CSV of its fields, which are ready.
pub fn csv_line<'a>(fields: impl IntoIterator<Item = Cow<'a, str>>) -> String {
    let mut line = fields.into_iter().collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

/// Returns a text as a field of CSV, as RFC 4180 has it. An empty text is in quotes, so that it can be told from NULL.
pub fn csv_field(text: &str) -> Cow<'_, str> {
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
}

/// Returns a number as `%v` prints a float64: the fewest digits that tell it apart, with an exponent where C's `%g`
/// has one.
pub fn go_float(value: f64) -> String {
    const FIRST_LARGE_EXPONENT: i32 = 6;
    const FIRST_SMALL_EXPONENT: i32 = -5;
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent <= FIRST_SMALL_EXPONENT || exponent >= FIRST_LARGE_EXPONENT {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    value.to_string()
}

/// Returns a number of bytes with one digit after the point, as the status page has it.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, next);
    }
    match unit {
        "B" => format!("{count} B"),
        // As the status page has it.
        unit if amount >= 100.0 => format!("{amount:.0} {unit}"),
        unit => {
            let amount = format!("{amount:.1}");
            format!("{} {unit}", amount.trim_end_matches(".0"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["日本", "a\nb"], ["x", ""]];
        let rows = rows.map(|row| row.map(ToOwned::to_owned).to_vec());
        assert_eq!(
            columns(&["N", "VALUE"], rows),
            "N     VALUE\n日本  a\\nb\nx\n"
        );
        assert_eq!(columns(&["N"], []), "N\n");
    }

    #[test]
    fn csv_quotes_what_needs_it_and_tells_null_from_empty() {
        let fields = ["a,\"b\"\n", "", "c"].map(csv_field);
        let null = Cow::Borrowed("");
        assert_eq!(
            csv_line(fields.into_iter().chain([null])),
            "\"a,\"\"b\"\"\n\",\"\",c,\r\n"
        );
    }

    #[test]
    fn numbers_read_as_in_go() {
        // Printed by Go.
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (3.297_041_220_608_546_3e18, "3.2970412206085463e+18"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(go_float(value), text);
        }
    }
}
