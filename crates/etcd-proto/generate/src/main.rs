//! Compiles `../proto` into `../src/gen`. Run `cargo run` in this directory.

use std::{error::Error, path::Path};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let protos = root.join("proto");
    let names = ["etcdserver.proto", "lock.proto", "election.proto"];
    let files = protox::compile(names, [&protos])?;
    let generated = root.join("src/gen");
    std::fs::write(generated.join("descriptors.bin"), files.encode_to_vec())?;
    let mut config = prost_build::Config::new();
    // `Bytes` on the way out: a response refers to the index instead of copying it.
    config.bytes(["."]);
    tonic_prost_build::configure()
        .client_mod_attribute(".", r#"#[cfg(feature = "client")]"#)
        .emit_rerun_if_changed(false)
        .out_dir(generated)
        .compile_fds_with_config(files, config)?;
    Ok(())
}
