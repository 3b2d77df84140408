//! Compiles `../proto` into `../src/gen`, and likewise the files of `../../peer-proto` and `../../operator-proto`.
//! Run `cargo run` in this directory.

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
    for (package, name) in [("peer-proto", "peer"), ("operator-proto", "operator")] {
        generate_own(&root, package, name)?;
    }
    Ok(())
}

/// Generates all that it imports, too, and keeps its own.
fn generate_own(root: &Path, package: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let generated = format!("k8sdqlite.{name}.v1.rs");
    let package = root.join("..").join(package);
    let file = format!("{name}.proto");
    let files = protox::compile([file], [package.join("proto"), root.join("proto")])?;
    let scratch = std::env::temp_dir().join("etcd-proto-generate");
    std::fs::create_dir_all(&scratch)?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure()
        .extern_path(".etcdserverpb", "::etcd_proto::etcdserverpb")
        .emit_rerun_if_changed(false)
        .out_dir(&scratch)
        .compile_fds_with_config(files, config)?;
    std::fs::copy(
        scratch.join(&generated),
        package.join("src/gen").join(&generated),
    )?;
    Ok(std::fs::remove_dir_all(scratch)?)
}
