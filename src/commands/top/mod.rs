//! The sub-command `top`: what fills the store of a server, and who uses it.
//!
//! The server counts requests from the first question on, so that two are asked: their difference is what happened in
//! between. Nothing is changed.

mod frame;
mod table;

use std::{
    io::{self, ErrorKind, IsTerminal},
    time::{Duration, Instant},
};

use operator_proto::{TopRequest, TopResponse};
use tokio::time::sleep;
use tonic::Code;

use self::frame::Frame;
use crate::{
    args::{TopArgs, TopForm},
    remote::{EndpointUrl, Remote, RemoteError},
};

/// The longest that a server may take for an answer: it walks over all keys.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Clears a terminal, and goes to its beginning.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

#[derive(Debug, thiserror::Error)]
pub enum TopError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(
        "{0} does not know top: it is an etcd, or an older k8s-dqlite, which has to be upgraded first"
    )]
    NotThere(EndpointUrl),
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
}

/// Returns the text for the standard output. With `--watch` it does not end, and `show` prints.
pub async fn run(
    args: &TopArgs,
    show: impl Fn(&str) -> io::Result<()>,
) -> Result<String, TopError> {
    let (files, login) = (args.server.remote.tls_files(), args.server.remote.login());
    let mut remote = Remote::connect(&args.server.endpoint, &files, login.as_ref()).await?;
    let mut before = ask(&mut remote, args).await?;
    loop {
        let now = ask_next(&mut remote, args, &before).await?;
        let text = written(&Frame::between(&before, &now), args);
        if !args.watch {
            return Ok(text);
        }
        let is_screen = args.output == TopForm::Table && io::stdout().is_terminal();
        let text = match is_screen {
            true => format!("{CLEAR}{text}"),
            false => text,
        };
        match show(&text) {
            // Whoever closed the pipe has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(String::new()),
            shown => shown.map_err(TopError::Output)?,
        }
        before = now;
    }
}

/// Asks after the interval; once more while the server gives the same answer again, which took it long.
async fn ask_next(
    remote: &mut Remote,
    args: &TopArgs,
    before: &TopResponse,
) -> Result<TopResponse, TopError> {
    let time_of = |answer: &TopResponse| (answer.counting, answer.counted_ms);
    let began = Instant::now();
    loop {
        sleep(args.interval).await;
        let now = ask(remote, args).await?;
        if time_of(&now) != time_of(before) || began.elapsed() > ANSWER_TIMEOUT {
            return Ok(now);
        }
    }
}

async fn ask(remote: &mut Remote, args: &TopArgs) -> Result<TopResponse, TopError> {
    let mut request = tonic::Request::new(TopRequest {
        prefix: args.prefix.clone().into_bytes().into(),
        depth: args.depth.unwrap_or(0),
    });
    request.set_timeout(ANSWER_TIMEOUT);
    let asked = remote.operator.top(request).await;
    let answer = asked.map_err(|status| match status.code() {
        Code::Unimplemented => TopError::NotThere(remote.url.clone()),
        _ => remote.failed(&status).into(),
    })?;
    Ok(answer.into_inner())
}

fn written(frame: &Frame, args: &TopArgs) -> String {
    match (args.output, args.watch) {
        (TopForm::Table, _) => table::write(frame, args.sort, args.limit),
        (TopForm::Json, true) => format!("{}\n", frame.to_json(args.sort, args.limit)),
        (TopForm::Json, false) => format!("{:#}\n", frame.to_json(args.sort, args.limit)),
    }
}
