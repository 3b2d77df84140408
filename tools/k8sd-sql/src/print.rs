//! Results as text.

use std::io::{self, Write};

use k8sd::api::SqlResult;
use serde_json::{Value, json};

use crate::args::Format;

pub fn batch(out: &mut impl Write, format: Format, results: &[SqlResult]) -> io::Result<()> {
    match format {
        Format::Go => {
            let rows = results.first().and_then(|result| result.rows.as_deref());
            return writeln!(out, "{}", go(rows.unwrap_or_default()));
        }
        Format::Json => return writeln!(out, "{:#}", json!(results)),
        Format::Table | Format::Csv => {}
    }
    for (at, result) in results.iter().enumerate() {
        if format == Format::Table && results.len() > 1 {
            writeln!(out, "=> Query {at}:")?;
        }
        match (&result.columns, &result.rows) {
            (Some(columns), rows) => {
                let rows = rows.as_deref().unwrap_or_default();
                let names: Vec<&str> = columns.iter().map(String::as_str).collect();
                if format == Format::Csv {
                    csv(out, &names, rows)?;
                    continue;
                }
                let text = rows
                    .iter()
                    .map(|row| row.iter().map(|value| cell(value, "NULL")).collect());
                table(out, &names, &text.collect::<Vec<_>>())?;
            }
            _ if format == Format::Csv => {}
            _ => writeln!(out, "Rows affected: {}", result.rows_affected)?,
        }
    }
    Ok(())
}

fn cell(value: &Value, null: &str) -> String {
    match value {
        Value::Null => null.to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Columns under their names, separated by two spaces.
pub fn table(out: &mut impl Write, columns: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = columns.iter().map(|name| width(name)).collect();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|text| text.replace('\n', "\\n")).collect())
        .collect();
    for row in &rows {
        for (widest, text) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(text));
        }
    }
    let header: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&header).chain(&rows) {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(text, widest)| format!("{text}{}", " ".repeat(widest - width(text))));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// RFC 4180; NULL is an empty field.
fn csv(out: &mut impl Write, columns: &[&str], rows: &[Vec<Value>]) -> io::Result<()> {
    let quoted = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let header: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    write!(out, "{}\r\n", header.join(","))?;
    for row in rows {
        let fields: Vec<String> = row.iter().map(|value| quoted(&cell(value, ""))).collect();
        write!(out, "{}\r\n", fields.join(","))?;
    }
    Ok(())
}

/// Go's default form of a slice of slices. Numbers are floats there.
fn go(rows: &[Vec<Value>]) -> String {
    bracketed(rows.iter().map(|row| bracketed(row.iter().map(go_value))))
}

fn bracketed(parts: impl Iterator<Item = String>) -> String {
    format!("[{}]", parts.collect::<Vec<_>>().join(" "))
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => go_float(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text.clone(),
        Value::Array(values) => bracketed(values.iter().map(go_value)),
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<_, _> = map.iter().collect();
            let pairs = sorted
                .into_iter()
                .map(|(key, value)| format!("{key}:{}", go_value(value)));
            format!("map{}", bracketed(pairs))
        }
    }
}

/// The fewest digits; with an exponent below -4 and from 6 on.
fn go_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_form_is_that_of_its_slices() {
        let rows: Vec<Vec<Value>> = serde_json::from_value(json!([
            [1, "alice", null, true],
            [2, "bob", 1.5, "2024-07-29T16:00:00Z"]
        ]))
        .unwrap();
        assert_eq!(
            go(&rows),
            "[[1 alice <nil> true] [2 bob 1.5 2024-07-29T16:00:00Z]]"
        );
        assert_eq!(go(&[]), "[]");
        for (value, text) in [
            (json!(999_999), "999999"),
            (json!(1_000_000), "1e+06"),
            (
                json!(3_297_041_220_608_546_238_u64),
                "3.2970412206085463e+18",
            ),
            (json!(0.00001), "1e-05"),
            (json!(0), "0"),
        ] {
            assert_eq!(go_value(&value), text);
        }
    }

    #[test]
    fn results_are_all_printed_and_integers_exact() {
        let select = |rows: Value| SqlResult {
            kind: "select".to_owned(),
            columns: Some(vec!["a".to_owned(), "b".to_owned()]),
            rows: Some(serde_json::from_value(rows).unwrap()),
            rows_affected: 0,
        };
        let exec = SqlResult {
            kind: "exec".to_owned(),
            columns: None,
            rows: None,
            rows_affected: 3,
        };
        let results = [
            select(json!([[i64::MAX, null]])),
            exec,
            select(json!([["x,\"y", 1.0]])),
        ];
        let print = |format, results: &[SqlResult]| {
            let mut out = Vec::new();
            batch(&mut out, format, results).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = print(Format::Table, &results);
        assert!(
            text.contains("9223372036854775807  NULL\n=> Query 1:\nRows affected: 3\n"),
            "{text}"
        );
        assert_eq!(
            print(Format::Csv, &results[2..]),
            "a,b\r\n\"x,\"\"y\",1.0\r\n"
        );
        assert_eq!(print(Format::Go, &results[1..]), "[]\n");
    }
}
