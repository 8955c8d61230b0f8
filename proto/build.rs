//! Compiles `v1/*.proto` with a protobuf compiler written in Rust: no system protoc.

use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=v1");
    let files = ["v1/agent.proto", "v1/coordinator.proto", "v1/operator.proto"];
    let descriptors = protox::compile(files, ["v1"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // For gRPC reflection.
    fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        // `coordctl --json` prints the operator's views as they are on the wire.
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .compile_fds(descriptors)?;
    Ok(())
}
