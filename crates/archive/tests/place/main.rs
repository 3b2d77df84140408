//! Places as they are used: directories, and versitygw, which `VERSITYGW_BIN` names (scripts/versitygw builds it).
//! Without it the tests of S3 are skipped, and say so.

mod behaviour;
mod chain;
mod directory;
mod faults;
mod proxy;
mod s3;
mod server;
