//! One session of a user: settings, and what runs in its order.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use dqlite::wire::Row;

use crate::args::Args;
use crate::command::{self, Next};
use crate::error::ShellError;
use crate::output::Output;
use crate::render::{Style, renderer};
use crate::servers::Servers;
use crate::session::Session;
use dqlite::sql::{Piece, is_blank, split};

pub struct Shell {
    pub session: Session,
    pub output: Output,
    pub style: Style,
    pub has_timer: bool,
    pub force: bool,
    /// Scripts that run scripts, at the moment.
    pub depth: usize,
    /// True if there is somebody to ask.
    asks: bool,
    /// `--yes`.
    is_agreed: bool,
}

impl Shell {
    pub fn new(args: &Args, is_interactive: bool) -> Result<Shell, ShellError> {
        let (database, _) = args.target();
        let session = Session::new(Servers::from_args(args)?, database, args.force);
        let is_attended = io::stdin().is_terminal() && io::stderr().is_terminal();
        Ok(Shell {
            session,
            output: Output::new(is_interactive && !args.no_pager),
            style: Style {
                format: args.format,
                null: args.nullvalue.clone(),
                has_header: !args.no_header,
                blobs: args.blobs(io::stdout().is_terminal()),
            },
            has_timer: false,
            force: args.force,
            depth: 0,
            asks: is_attended && !args.yes,
            is_agreed: args.yes,
        })
    }

    /// Runs a whole text; what follows the last semicolon is a statement, too.
    pub async fn text(&mut self, text: &str) -> Result<Next, ShellError> {
        let split = split(text);
        for piece in &split.pieces {
            if self.piece(piece).await? == Next::Quit {
                return Ok(Next::Quit);
            }
        }
        if !is_blank(split.rest) {
            self.statement(split.rest.trim_end()).await?;
        }
        Ok(Next::GoOn)
    }

    pub async fn piece(&mut self, piece: &Piece<'_>) -> Result<Next, ShellError> {
        match piece {
            Piece::Command(text) => command::run(self, text).await,
            Piece::Statement(sql) => self.statement(sql).await.map(|()| Next::GoOn),
        }
    }

    pub async fn statement(&mut self, sql: &str) -> Result<(), ShellError> {
        let began = Instant::now();
        let text = self.session.run(sql, &self.style).await?;
        let took = began.elapsed();
        if let Some(text) = text {
            self.output.spool(text)?;
        }
        if self.has_timer {
            eprintln!("{:.3} s", took.as_secs_f64());
        }
        Ok(())
    }

    /// Shows rows of our own.
    pub fn rows(
        &mut self,
        columns: &[&str],
        rows: impl Iterator<Item = Row>,
    ) -> Result<(), ShellError> {
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let mut text = renderer(&self.style, &columns)?;
        for row in rows {
            text.row(&row)?;
        }
        self.output.spool(text.finish()?)
    }

    /// Asks before what cannot be undone; a script has decided already.
    pub fn confirm(&self, question: &str) -> Result<(), ShellError> {
        if !self.asks {
            return Ok(());
        }
        eprint!("{question} [y/N] ");
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(ShellError::refused("not done")),
        }
    }

    /// Asks before a file is replaced; a script has to say `--yes`.
    pub fn confirm_overwrite(&self, path: &Path) -> Result<(), ShellError> {
        let path = path.display();
        match self.asks || self.is_agreed {
            true => self.confirm(&format!("Replace {path}?")),
            false => Err(ShellError::refused(format!(
                "{path} exists: --yes replaces it"
            ))),
        }
    }
}
