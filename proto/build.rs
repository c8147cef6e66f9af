//! Makes the messages and stubs of our own API out of `gomesh/`: in Rust alone, without protoc.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

/// Our own protos, beside this file.
const FILES: [&str; 2] = ["gomesh/control/v1/control.proto", "gomesh/control/v1/registry.proto"];

/// JSON has the names of the fields; what is left out is the default, what is unknown an error.
const MESSAGE: &str = "#[derive(serde::Serialize, serde::Deserialize)]\n\
                       #[serde(default, deny_unknown_fields)]";

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let set = protox::Compiler::new([root])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?
        .file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("gomesh.fds.bin"), set.encode_to_vec())?;
    let state = "#[serde(with = \"crate::control::state_name\")]";
    tonic_prost_build::configure()
        .message_attribute(".", MESSAGE)
        .btree_map(".")
        .field_attribute(".gomesh.control.v1.Registration.state", state)
        .field_attribute(".gomesh.control.v1.Instance.state", state)
        .field_attribute(
            ".gomesh.control.v1.Registration.check",
            "#[serde(skip_serializing_if = \"Option::is_none\")]",
        )
        .compile_fds(set)?;
    Ok(())
}
