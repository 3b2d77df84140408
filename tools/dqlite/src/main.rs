//! The dqlite shell.
#![forbid(unsafe_code)]

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use dqlite_shell::args::Args;
use dqlite_shell::error::ShellError;
use dqlite_shell::shell::Shell;
use dqlite_shell::{interactive, script};
use program_docs::Generated;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().collect();
    if let Some(asked) = program_docs::asked(&arguments) {
        return generate(asked);
    }
    let mut args = Args::parse_from(arguments);
    if args.asks_for_help() {
        // Whoever closed the pipe has seen enough.
        let _ = Args::command().print_long_help();
        return ExitCode::SUCCESS;
    }
    args.complete();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(ShellError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            interactive::complain(&error, &args);
            ExitCode::from(error.exit_code())
        }
    }
}

fn generate(asked: Result<Generated, String>) -> ExitCode {
    match asked {
        Ok(generated) => {
            // Whoever closed the pipe has seen enough.
            let _ = generated.write(Args::command(), &mut io::stdout());
            ExitCode::SUCCESS
        }
        Err(reason) => {
            let error = ShellError::usage(reason);
            eprintln!("Error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<(), ShellError> {
    args.check()?;
    dqlite::linkage::check().map_err(|error| ShellError::usage(error.to_string()))?;
    // One worker beside the thread of the prompt ends transactions that are left alone.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (_, command) = args.target();
    let is_interactive = command.is_none() && io::stdin().is_terminal();
    let mut shell = Shell::new(args, is_interactive)?;
    let ran = match command {
        Some(command) => runtime.block_on(shell.text(&command)).map(drop),
        None if is_interactive => return interactive::run(&runtime, shell, args),
        None => runtime.block_on(script::standard_input(&mut shell)),
    };
    // Lookups of names may still hang.
    runtime.shutdown_background();
    ran
}
