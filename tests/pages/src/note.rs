//! The note before a block, which says how it is tried.

/// A way to try a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    Typed(Box<Typed>),
    /// The reason why no line is typed.
    NotTyped(String),
    /// The thing that it shows, which are no commands.
    Shown(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    pub setting: String,
    /// The machine of lines that name none, from 1 on.
    pub on: usize,
    /// Programs of others.
    pub needs: Vec<String>,
    pub before: Vec<String>,
    pub after: Vec<String>,
    pub meanwhile: Option<String>,
    /// Placeholders, and what they stand for in the shell.
    pub places: Vec<(String, String)>,
    /// A command in which `@` stands for the block.
    pub frame: Option<String>,
    /// A file, with the path to which the block is written.
    pub file: Option<String>,
    /// The command whose output the block is.
    pub by: Option<String>,
    pub keys: Vec<String>,
    pub exits: Vec<u8>,
    pub prints: Vec<String>,
}

/// A comment that begins like a note and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteError(pub String);

impl Note {
    /// Reads a comment; None is one for other readers.
    pub fn parse(comment: &str) -> Option<Result<Self, NoteError>> {
        let text = comment.trim().strip_prefix("<!--")?;
        let text = text.split("-->").next().unwrap_or_default();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let (kind, rest) = lines.next()?.split_once(':')?;
        let fields: Vec<(&str, &str)> = lines
            .map(|line| {
                line.split_once(':')
                    .map_or((line, ""), |(key, value)| (key, value.trim()))
            })
            .collect();
        let rest = rest.trim();
        match kind {
            "typed" => Some(typed(rest, &fields).map(|typed| Self::Typed(Box::new(typed)))),
            "printed" => Some(typed(rest, &fields).and_then(|typed| match typed.by {
                Some(_) => Ok(Self::Typed(Box::new(typed))),
                None => Err(NoteError("`printed` needs a field `by`".to_owned())),
            })),
            "not typed" | "shown" => {
                let mut said = vec![rest.to_owned()];
                said.extend(fields.iter().map(|(key, value)| match value.is_empty() {
                    true => (*key).to_owned(),
                    false => format!("{key}: {value}"),
                }));
                let said = said.join(" ");
                Some(match (said.is_empty(), kind) {
                    (true, _) => Err(NoteError(format!("`{kind}` needs a reason"))),
                    (false, "shown") => Ok(Self::Shown(said)),
                    (false, _) => Ok(Self::NotTyped(said)),
                })
            }
            _ => None,
        }
    }
}

fn typed(setting: &str, fields: &[(&str, &str)]) -> Result<Typed, NoteError> {
    let mut typed = Typed {
        setting: setting.to_owned(),
        on: 1,
        ..Typed::default()
    };
    for (key, value) in fields {
        let text = (*value).to_owned();
        match *key {
            "on" => {
                typed.on = value
                    .parse()
                    .map_err(|error| NoteError(format!("`on: {value}`: {error}")))?;
            }
            "needs" => typed.needs.push(text),
            "before" => typed.before.push(text),
            "after" => typed.after.push(text),
            "file" => typed.file = Some(text),
            "meanwhile" => typed.meanwhile = Some(text),
            "where" => {
                let place = value.split_once('=');
                let (name, meaning) =
                    place.ok_or_else(|| NoteError(format!("`where: {value}` has no `=`")))?;
                typed.places.push((name.to_owned(), meaning.to_owned()));
            }
            "as" => typed.frame = Some(text),
            "by" => typed.by = Some(text),
            "keys" => typed.keys = value.split_whitespace().map(str::to_owned).collect(),
            "exits" => {
                let codes = value.split_whitespace().map(str::parse);
                let codes: Result<Vec<u8>, _> = codes.collect();
                typed.exits =
                    codes.map_err(|error| NoteError(format!("`exits: {value}`: {error}")))?;
            }
            "prints" => typed.prints.push(text),
            _ => return Err(NoteError(format!("a note has no field `{key}`"))),
        }
    }
    Ok(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_unknown_ones_refused() {
        let note = "<!-- typed: one-node\n  before: etcdctl put a 1\n  where: TOKEN=$(a: b)\n  exits: 0 12 -->";
        let Some(Ok(Note::Typed(typed))) = Note::parse(note) else {
            panic!("{note}");
        };
        assert_eq!(typed.setting, "one-node");
        assert_eq!(typed.before, ["etcdctl put a 1"]);
        assert_eq!(typed.places, [("TOKEN".to_owned(), "$(a: b)".to_owned())]);
        assert_eq!(typed.exits, [0, 12]);
        assert_eq!(Note::parse("<!-- tests/x.rs types this -->"), None);
        for wrong in [
            "<!-- typed: a\nafterwards: b -->",
            "<!-- not typed: -->",
            "<!-- typed: a\nexits: x -->",
            "<!-- printed: a -->",
        ] {
            assert!(matches!(Note::parse(wrong), Some(Err(_))), "{wrong}");
        }
    }
}
