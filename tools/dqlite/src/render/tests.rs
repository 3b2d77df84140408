use bytes::Bytes;
use dqlite::wire::Value;

use super::*;

fn shown(style: &Style, columns: &[&str], rows: &[Vec<Value>]) -> String {
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let mut renderer = renderer(style, &columns).unwrap();
    for row in rows {
        renderer.row(&Row(row.clone())).unwrap();
    }
    let mut text = String::new();
    let mut spool = renderer.finish().unwrap();
    spool
        .read_text(|part| {
            text.push_str(part);
            Ok(())
        })
        .unwrap();
    text
}

fn style(format: Format) -> Style {
    Style {
        format,
        ..Style::default()
    }
}

fn rows() -> Vec<Vec<Value>> {
    vec![
        vec![
            Value::Integer(i64::MAX),
            Value::Text("a \"b\",\nc".into()),
            Value::Null,
        ],
        vec![
            Value::Float(0.1),
            Value::Text("日本".into()),
            Value::Blob(Bytes::from_static(&[0, 255])),
        ],
    ]
}

const COLUMNS: [&str; 3] = ["id", "name", "value"];

#[test]
fn tabular_is_the_originals() {
    assert_eq!(
        shown(
            &style(Format::Tabular),
            &["id", "x"],
            &[vec![Value::Integer(1), Value::Null]]
        ),
        "id\tx\t\n1\t<nil>\t\n"
    );
    assert_eq!(shown(&style(Format::Tabular), &["id"], &[]), "id\t\n");
}

#[test]
fn json_is_one_array_with_exact_numbers() {
    let text = shown(&style(Format::Json), &COLUMNS, &rows());
    assert_eq!(
        text,
        "[\n{\"id\":9223372036854775807,\"name\":\"a \\\"b\\\",\\nc\",\"value\":null},\n\
         {\"id\":0.1,\"name\":\"日本\",\"value\":\"x'00ff'\"}\n]\n"
    );
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    assert_eq!(shown(&style(Format::Json), &COLUMNS, &[]), "[]\n");
}

#[test]
fn json_lines_are_one_object_each() {
    let text = shown(
        &style(Format::Jsonl),
        &["a", "a"],
        &[vec![Value::Integer(1), Value::Float(f64::INFINITY)]],
    );
    assert_eq!(text, "{\"a\":1,\"a:1\":null}\n");
    assert_eq!(shown(&style(Format::Jsonl), &COLUMNS, &[]), "");
}

#[test]
fn csv_quotes_what_needs_it_and_tells_null_from_empty() {
    let text = shown(&style(Format::Csv), &COLUMNS, &rows());
    assert_eq!(
        text,
        "id,name,value\r\n9223372036854775807,\"a \"\"b\"\",\nc\",\r\n0.1,日本,00ff\r\n"
    );
    let empty = vec![vec![
        Value::Text(String::new()),
        Value::Null,
        Value::Boolean(true),
    ]];
    let bare = Style {
        has_header: false,
        ..style(Format::Csv)
    };
    assert_eq!(shown(&bare, &COLUMNS, &empty), "\"\",,true\r\n");
}

#[test]
fn a_box_fits_its_content() {
    let text = shown(
        &style(Format::Box),
        &["id", "name"],
        &[
            vec![Value::Integer(1), Value::Text("日本\n".into())],
            vec![Value::Null, Value::Text("x".into())],
        ],
    );
    assert_eq!(
        text,
        "┌──────┬────────┐\n\
         │ id   │ name   │\n\
         ├──────┼────────┤\n\
         │    1 │ 日本\\n │\n\
         │ NULL │ x      │\n\
         └──────┴────────┘\n"
    );
}

#[test]
fn lines_name_their_columns() {
    let text = shown(&style(Format::Line), &COLUMNS, &rows());
    assert_eq!(
        text,
        "   id = 9223372036854775807\n name = a \"b\",\nc\nvalue = NULL\n\n   \
         id = 0.1\n name = 日本\nvalue = x'00ff'\n"
    );
}

#[test]
fn blobs_that_hold_text_are_shown_as_text_where_that_is_asked_for() {
    let blob = |bytes: &'static [u8]| Value::Blob(Bytes::from_static(bytes));
    let rows = [vec![blob(b"abc"), blob(&[0, 255])]];
    let columns = ["a", "b"];
    for (format, bytes, text) in [
        (Format::Tabular, "[97 98 99]", "abc"),
        (Format::Jsonl, "\"x'616263'\"", "\"abc\""),
        (Format::Csv, "616263", "abc"),
    ] {
        let other = match format {
            Format::Tabular => "[0 255]",
            _ => "00ff",
        };
        for (blobs, shown_as) in [(Blobs::Bytes, bytes), (Blobs::Text, text)] {
            let style = Style {
                blobs,
                ..style(format)
            };
            let shown = shown(&style, &columns, &rows);
            assert!(shown.contains(shown_as) && shown.contains(other), "{shown}");
        }
    }
}

#[test]
fn null_is_what_was_asked_for() {
    let style = Style {
        null: Some("-".into()),
        ..style(Format::Tabular)
    };
    assert_eq!(shown(&style, &["a"], &[vec![Value::Null]]), "a\t\n-\t\n");
}
