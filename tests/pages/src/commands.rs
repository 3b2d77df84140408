//! The command lines of a block, and the machines on which they are typed.

/// A command as a shell reads it: with the lines that continue it, and with a document behind `<<`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The machine that the block names, from 1 on.
    pub machine: Option<usize>,
    pub text: String,
    /// The part of its output that the block shows.
    pub output: Vec<String>,
}

const PROMPT: &str = "$ ";

/// Returns the commands of a block in the order in which they are typed. If some lines begin with a prompt, the others are output.
pub fn of(block: &str) -> Vec<Command> {
    let has_prompts = block.lines().any(|line| line.starts_with(PROMPT));
    let mut all = Vec::new();
    let mut machines = vec![None];
    // What was read since the machines were named.
    let mut part: Vec<Command> = Vec::new();
    let mut lines = block.lines();
    while let Some(line) = lines.next() {
        if let Some(names) = line.strip_prefix("# on ") {
            all.extend(typed_on(&machines, &part));
            part.clear();
            let numbers = names
                .split(", ")
                .filter_map(|name| name.strip_prefix("node")?.parse().ok());
            machines = numbers.map(Some).collect();
            continue;
        }
        let text = match (has_prompts, line.strip_prefix(PROMPT)) {
            (true, Some(command)) => command,
            (true, None) => {
                if let Some(last) = part.last_mut() {
                    last.output.push(line.to_owned());
                }
                continue;
            }
            (false, _) => line,
        };
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        let mut text = text.to_owned();
        while text.ends_with('\\') {
            let Some(next) = lines.next() else { break };
            text = format!("{text}\n{next}");
        }
        if let Some(end) = document_end(&text) {
            for next in lines.by_ref() {
                text = format!("{text}\n{next}");
                if next == end {
                    break;
                }
            }
        }
        part.push(Command {
            machine: None,
            text,
            output: Vec::new(),
        });
    }
    all.extend(typed_on(&machines, &part));
    all
}

fn typed_on(machines: &[Option<usize>], commands: &[Command]) -> Vec<Command> {
    let on = |machine: &Option<usize>| {
        commands
            .iter()
            .map(|one| Command {
                machine: *machine,
                ..one.clone()
            })
            .collect::<Vec<_>>()
    };
    machines.iter().flat_map(on).collect()
}

/// The word that ends a document which begins in this line.
fn document_end(line: &str) -> Option<String> {
    let (_, word) = line.split_once("<<")?;
    let word = word.trim_start_matches('-').split_whitespace().next()?;
    Some(word.trim_matches(['\'', '"']).to_owned())
}

/// Returns the command on one line, without a comment at its end.
pub fn joined(command: &str) -> String {
    let text = command.replace("\\\n", " ");
    let end = text
        .find("  #")
        .or_else(|| text.find(" # "))
        .unwrap_or(text.len());
    let words: Vec<&str> = text[..end].split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(block: &str) -> Vec<(Option<usize>, String)> {
        of(block)
            .into_iter()
            .map(|it| (it.machine, it.text))
            .collect()
    }

    #[test]
    fn lines_are_continued_and_typed_on_the_machines_that_are_named() {
        let block =
            "# a comment\na \\\n  b\n\n# on node2, node3\nc\nd <<'E'\n# x\nE\n# on node1\ne";
        let c = |at: usize, text: &str| ((at > 0).then_some(at), text.to_owned());
        let document = "d <<'E'\n# x\nE";
        let expected = [
            c(0, "a \\\n  b"),
            c(2, "c"),
            c(2, document),
            c(3, "c"),
            c(3, document),
            c(1, "e"),
        ];
        assert_eq!(told(block), expected);
        assert_eq!(joined("a \\\n  b      # c"), "a b");
    }

    #[test]
    fn lines_without_a_prompt_are_output() {
        let commands = of("$ a\nb\n$ c");
        assert_eq!(commands[0].output, ["b"]);
        assert_eq!(commands[1].text, "c");
    }
}
