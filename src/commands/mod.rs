//! The sub-commands of the program.

pub mod archive;
pub mod backup;
pub mod certs;
pub mod doctor;
pub mod init;
pub mod inspect;
mod machine;
pub mod migrator;
pub mod recover;
pub mod restore;
pub mod roll_back;
pub mod snap;
pub mod status;
pub mod top;
