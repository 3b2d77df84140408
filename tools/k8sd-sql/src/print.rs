//! Results as text.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use k8sd::api::SqlResult;
use serde_json::{Value, json};
use tables::{csv_field, csv_line, go_float};

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
                if format == Format::Csv {
                    csv(out, columns, rows)?;
                    continue;
                }
                let names: Vec<&str> = columns.iter().map(String::as_str).collect();
                let rows = rows.iter().map(|row| row.iter().map(cell).collect());
                out.write_all(tables::columns(&names, rows).as_bytes())?;
            }
            _ if format == Format::Csv => {}
            _ => writeln!(out, "Rows affected: {}", result.rows_affected)?,
        }
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn csv(out: &mut impl Write, columns: &[String], rows: &[Vec<Value>]) -> io::Result<()> {
    let header = csv_line(columns.iter().map(|name| csv_field(name)));
    out.write_all(header.as_bytes())?;
    for row in rows {
        let fields = row.iter().map(|value| match value {
            Value::Null => Cow::Borrowed(""),
            Value::String(text) => csv_field(text),
            value => Cow::Owned(value.to_string()),
        });
        out.write_all(csv_line(fields).as_bytes())?;
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
        assert_eq!(
            print(Format::Csv, &[select(json!([["", null]]))]),
            "a,b\r\n\"\",\r\n"
        );
        assert_eq!(print(Format::Go, &results[1..]), "[]\n");
    }
}
