//! Names of databases and addresses of nodes, as the engine may see them. Pure.

/// The longest name of a database. The engine has room for 512 bytes, with a suffix (dqlite: src/db.c).
pub const MAX_DATABASE_NAME_BYTES: usize = 255;

/// The longest address: a name of the DNS and a port have 259 bytes, an abstract socket 108.
pub const MAX_ADDRESS_BYTES: usize = 512;

/// Suffixes by which the engine tells the files of one database apart (dqlite: src/vfs.c).
const FILE_SUFFIXES: [&str; 2] = ["-wal", "-journal"];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "{0:?} cannot be the name of a database: 1 to 255 letters, digits, full stops, hyphens and underscores are \
         allowed, without -wal or -journal at the end"
    )]
    Database(String),
    #[error(
        "{0:?} cannot be the address of a node: 1 to 512 bytes without white space are allowed, such as 10.0.0.1:29001"
    )]
    Address(String),
}

/// Checks the name of a database. `""`, `:memory:` and `file:…` mean a file to SQLite that the engine does not have,
/// and end its process.
pub fn check_database_name(name: &str) -> Result<(), NameError> {
    let is_allowed = (1..=MAX_DATABASE_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !FILE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    match is_allowed {
        true => Ok(()),
        false => Err(NameError::Database(shortened(name))),
    }
}

/// Checks the address of a node, which all nodes keep, dial and show.
pub(super) fn check_address(address: &str) -> Result<(), NameError> {
    let is_allowed = (1..=MAX_ADDRESS_BYTES).contains(&address.len())
        && !address
            .chars()
            .any(|character| character.is_whitespace() || character.is_control());
    match is_allowed {
        true => Ok(()),
        false => Err(NameError::Address(shortened(address))),
    }
}

/// Keeps what an error repeats short.
fn shortened(text: &str) -> String {
    const MAX_CHARACTERS: usize = 64;
    text.chars().take(MAX_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_names_of_databases() {
        let longest = "a".repeat(MAX_DATABASE_NAME_BYTES);
        for name in ["k8s", "db.bin", "test", "a-b_c.2", &longest] {
            assert_eq!(check_database_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_sqlite_treats_specially_is_no_name() {
        let too_long = "a".repeat(MAX_DATABASE_NAME_BYTES + 1);
        for name in [
            "",
            ":memory:",
            "file:x?mode=memory",
            "file:x",
            "a/b",
            "a b",
            "a\n",
            "a?b",
            "a%20",
            "k8s-wal",
            "k8s-journal",
            "é",
            &too_long,
        ] {
            assert!(check_database_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_address_is_one_word() {
        for address in [
            "10.0.0.1:9000",
            "[::1]:9000",
            "node-1.example:9000",
            "@2",
            "1",
        ] {
            assert_eq!(check_address(address), Ok(()), "{address}");
        }
        let too_long = "a".repeat(MAX_ADDRESS_BYTES + 1);
        for address in ["", " ", "a b:1", "a\n:1", "a\u{7f}:1", &too_long] {
            assert!(check_address(address).is_err(), "{address:?}");
        }
    }
}
