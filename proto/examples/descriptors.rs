//! Makes `proto/src/envoy.fds.bin` from the descriptor set that the locked `envoy-types` ships.
//!
//! Run `cargo run -p proto --example descriptors` after `envoy-types` changed. With `--check` it
//! writes nothing and ends with 1 if the file differs, and with 2 if the source is not there.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    let Some(source) = types_bin() else {
        eprintln!("no envoy-types with src/generated/types.bin found through `cargo metadata`");
        return ExitCode::from(2);
    };
    let raw = match std::fs::read(&source) {
        Ok(raw) => raw,
        Err(error) => {
            eprintln!("{}: {error}", source.display());
            return ExitCode::from(2);
        }
    };
    let Some(stripped) = without_comments(&raw) else {
        eprintln!("{}: not a FileDescriptorSet", source.display());
        return ExitCode::from(2);
    };
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/envoy.fds.bin");
    if check {
        let same = std::fs::read(&target).is_ok_and(|now| now == stripped);
        return ExitCode::from(u8::from(!same));
    }
    match std::fs::write(&target, &stripped) {
        Ok(()) => {
            println!("{}: {} bytes", target.display(), stripped.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", target.display());
            ExitCode::FAILURE
        }
    }
}

/// Where the locked `envoy-types` keeps its descriptor set.
fn types_bin() -> Option<PathBuf> {
    // Without a platform, cargo would ask for crates that only other systems need.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", &platform, "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let packages = metadata.get("packages")?.as_array()?;
    let package = packages.iter().find(|package| package["name"] == "envoy-types")?;
    let manifest = PathBuf::from(package["manifest_path"].as_str()?);
    let path = manifest.parent()?.join("src/generated/types.bin");
    path.is_file().then_some(path)
}

/// Field 9 of `FileDescriptorProto`: `source_code_info`.
const SOURCE_CODE_INFO: u64 = 9;

/// The set with every file's `source_code_info` left out; the rest is kept byte for byte.
fn without_comments(set: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = set;
    while !rest.is_empty() {
        let (_, _, file) = field(&mut rest)?;
        let mut kept = Vec::new();
        let mut fields = file;
        while !fields.is_empty() {
            let (number, whole, _) = field(&mut fields)?;
            if number != SOURCE_CODE_INFO {
                kept.extend_from_slice(whole);
            }
        }
        out.push(0x0a);
        let mut length = kept.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(&kept);
    }
    Some(out)
}

/// Number, all bytes and content of the next field.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, &'a [u8], &'a [u8])> {
    let start = *rest;
    let key = varint(rest)?;
    let content = match key & 7 {
        0 => {
            varint(rest)?;
            &[]
        }
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (content, after) = rest.split_at_checked(length)?;
            *rest = after;
            content
        }
        _ => return None,
    };
    Some((key >> 3, &start[..start.len() - rest.len()], content))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in 0..10_u32 {
        let (first, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(first & 0x7f).checked_shl(7 * shift)?;
        if *first < 0x80 {
            return Some(value);
        }
    }
    None
}
