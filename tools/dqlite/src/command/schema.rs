//! The commands that show what is in the database.

use crate::error::ShellError;
use crate::render::{Format, Style};
use crate::shell::Shell;

pub async fn tables(shell: &mut Shell) -> Result<(), ShellError> {
    const SQL: &str = "SELECT name FROM sqlite_master \
        WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    names(shell, SQL).await
}

pub async fn indexes(shell: &mut Shell, table: Option<&str>) -> Result<(), ShellError> {
    let of_table = table.map_or(String::new(), |table| {
        format!(" AND tbl_name = {} COLLATE NOCASE", literal(table))
    });
    let sql =
        format!("SELECT name FROM sqlite_master WHERE type = 'index'{of_table} ORDER BY name");
    names(shell, &sql).await
}

pub async fn schema(shell: &mut Shell, name: Option<&str>) -> Result<(), ShellError> {
    let named = name.map_or(String::new(), |name| {
        let name = literal(name);
        format!(" AND (name = {name} COLLATE NOCASE OR tbl_name = {name} COLLATE NOCASE)")
    });
    let sql = format!(
        "SELECT sql || ';' AS sql FROM sqlite_master WHERE sql IS NOT NULL{named} \
         ORDER BY tbl_name, type DESC, name"
    );
    names(shell, &sql).await
}

/// One column, which is shown without its name where that is no part of the format.
async fn names(shell: &mut Shell, sql: &str) -> Result<(), ShellError> {
    if matches!(shell.style.format, Format::Json | Format::Jsonl) {
        return shell.statement(sql).await;
    }
    let style = Style {
        format: Format::Jsonl,
        ..Style::default()
    };
    let Some(mut spool) = shell.session.run(sql, &style).await? else {
        return Ok(());
    };
    let mut lines = String::new();
    spool.read_text(|text| {
        lines.push_str(text);
        Ok(())
    })?;
    for line in lines.lines() {
        let row: serde_json::Value = serde_json::from_str(line).map_err(std::io::Error::from)?;
        let value = row.as_object().and_then(|row| row.values().next());
        shell
            .output
            .line(value.and_then(|value| value.as_str()).unwrap_or_default())?;
    }
    Ok(())
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The names for completion: tables, views, and their columns.
pub const NAMES: &str = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') \
    UNION SELECT c.name FROM sqlite_master t JOIN pragma_table_xinfo(t.name) c WHERE t.type IN ('table', 'view') \
    ORDER BY 1 LIMIT 10000";
