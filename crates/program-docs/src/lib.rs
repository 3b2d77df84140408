//! `--generate WHAT`: completion scripts and the man page of a program, from its flags.
//!
//! The option stands alone, and is read before the others: it needs no sub-command, and no help lists it.
#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    io::{self, Write},
    str::FromStr,
};

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

const FLAG: &str = "--generate";

/// The text that a program prints about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generated {
    Completion(Shell),
    Man,
}

impl FromStr for Generated {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "man" {
            return Ok(Self::Man);
        }
        <Shell as ValueEnum>::from_str(text, false)
            .map(Self::Completion)
            .map_err(|_| format!("{FLAG} {text}: give bash, zsh, fish, elvish, powershell or man"))
    }
}

/// Returns what is asked for if the arguments, which begin with the program's name, are `--generate WHAT` and no more;
/// the error is for the user.
pub fn asked(arguments: &[OsString]) -> Option<Result<Generated, String>> {
    let [_, flag, what @ ..] = arguments else {
        return None;
    };
    let flag = flag.to_str()?;
    match (flag.strip_prefix(FLAG)?, what) {
        ("", [what]) => Some(what.to_string_lossy().parse()),
        ("", _) => Some(Err(format!("{FLAG} stands alone, with one word behind it"))),
        (joined, []) => Some(joined.strip_prefix('=')?.parse()),
        _ => None,
    }
}

impl Generated {
    /// Writes the text about a program.
    pub fn write(self, mut program: Command, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Completion(shell) => {
                let name = program.get_name().to_owned();
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut program, &name, &mut text);
                match shell {
                    Shell::Bash => out.write_all(with_one_name(&text, &name).as_bytes()),
                    _ => out.write_all(&text),
                }
            }
            Self::Man => man(program, out),
        }
    }
}

/// In the script for bash, a program with a hyphen in its name has two names: one where a sub-command is recognised, and
/// another where its flags are listed, so that none are offered.
fn with_one_name(script: &[u8], name: &str) -> String {
    let (listed, recognised) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    String::from_utf8_lossy(script).replace(&listed, &recognised)
}

/// One page, with a section for each sub-command.
fn man(program: Command, out: &mut dyn Write) -> io::Result<()> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let page = Man::new(program.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    if program
        .get_arguments()
        .any(|argument| !argument.is_hide_set())
    {
        page.render_options_section(out)?;
    }
    describe_commands(&program, out)?;
    if program.get_after_help().is_some() {
        page.render_extra_section(out)?;
    }
    Ok(())
}

fn describe_commands(program: &Command, out: &mut dyn Write) -> io::Result<()> {
    for command in program.get_subcommands().filter(|it| !it.is_hide_set()) {
        let name = command.get_bin_name().unwrap_or(command.get_name());
        writeln!(out, ".SH \"{}\"", name.to_uppercase())?;
        let page = Man::new(command.clone());
        let mut text = Vec::new();
        page.render_synopsis_section(&mut text)?;
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
        // Its sections are parts of one here.
        let text = String::from_utf8_lossy(&text).replace("\n.SH ", "\n.SS ");
        out.write_all(text.as_bytes())?;
        describe_commands(command, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_option_stands_alone() {
        let bash = Generated::Completion(Shell::Bash);
        assert_eq!(asked(&words("k8sd --generate bash")), Some(Ok(bash)));
        assert_eq!(
            asked(&words("k8sd --generate=man")),
            Some(Ok(Generated::Man))
        );
        for other in [
            "k8sd",
            "k8sd sql",
            "k8sd sql --generate bash",
            "k8sd --generated",
        ] {
            assert_eq!(asked(&words(other)), None, "{other}");
        }
        for wrong in [
            "k8sd --generate",
            "k8sd --generate tcsh",
            "k8sd --generate man sql",
        ] {
            assert!(asked(&words(wrong)).unwrap().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_sub_command_that_bash_recognises_has_its_flags_listed() {
        let deep = Command::new("pull-up").subcommand(Command::new("at-once"));
        let program = Command::new("row-boat").subcommand(deep);
        let mut script = Vec::new();
        let bash = Generated::Completion(Shell::Bash);
        bash.write(program, &mut script).unwrap();
        let script = String::from_utf8(script).unwrap();
        let recognised = script.lines().filter_map(|line| {
            let name = line.trim().strip_prefix("cmd=\"")?;
            name.strip_suffix('"').filter(|name| !name.is_empty())
        });
        let recognised: Vec<&str> = recognised.collect();
        assert!(recognised.len() > 3, "{script}");
        for name in recognised {
            assert!(
                script.contains(&format!("\n        {name})\n")),
                "{name}: {script}"
            );
        }
    }

    #[test]
    fn every_text_has_the_flags_of_sub_commands() {
        let flag = Arg::new("deep").long("deep-flag").help("How deep");
        let hidden = Command::new("secret").hide(true);
        let under = Command::new("under").about("Goes below").arg(flag);
        let program = Command::new("boat").subcommands([under, hidden]);
        for what in ["bash", "zsh", "fish", "elvish", "powershell", "man"] {
            let mut text = Vec::new();
            let generated: Generated = what.parse().unwrap();
            generated.write(program.clone(), &mut text).unwrap();
            let text = String::from_utf8(text).unwrap().replace("\\-", "-");
            assert!(text.contains("deep-flag"), "{what}: {text}");
            assert!(what != "man" || !text.contains("secret"), "{text}");
        }
    }
}
