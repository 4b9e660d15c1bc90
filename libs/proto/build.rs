//! Compiles `proto/` without protoc and writes, to `OUT_DIR` only: stubs, the descriptor set, the reason table and
//! the list of methods that are safe to retry.
use std::{env, fmt::Write as _, fs, path::PathBuf};

use prost_reflect::{DescriptorPool, Value, prost::Message as _};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());

    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true).open_files(&files)?;
    let bytes = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &bytes)?;
    let descriptors = compiler.file_descriptor_set();
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;

    let pool = DescriptorPool::decode(bytes.as_slice())?;
    fs::write(out.join("reasons.rs"), reasons(&pool)?)?;
    fs::write(out.join("methods.rs"), methods(&pool)?)?;
    Ok(())
}

/// One row per value of `switchboard.error.v1.Reason`, from its options.
fn reasons(pool: &DescriptorPool) -> Result<String, Box<dyn std::error::Error>> {
    let rule = pool.get_extension_by_name("switchboard.error.v1.rule").ok_or("no rule extension")?;
    let reasons = pool.get_enum_by_name("switchboard.error.v1.Reason").ok_or("no Reason enum")?;
    let mut text = String::from("&[\n");
    for value in reasons.values() {
        let options = value.options();
        let Value::Message(row) = options.get_extension(&rule).into_owned() else {
            return Err(format!("{} has no rule", value.name()).into());
        };
        let number = |name: &str| row.get_field_by_name(name).and_then(|v| v.as_u32()).unwrap_or_default();
        let retry = row.get_field_by_name("retry").and_then(|v| v.as_bool()).unwrap_or_default();
        let title = row.get_field_by_name("title").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        let name = value.name().trim_start_matches("REASON_");
        writeln!(
            text,
            "    ReasonRow {{ number: {}, name: {name:?}, code: {}, http: {}, retry: {retry}, title: {title:?} }},",
            value.number(),
            number("code"),
            number("http")
        )?;
    }
    text.push(']');
    Ok(text)
}

/// Every method: its path, whether it may be retried, and whether it streams.
fn methods(pool: &DescriptorPool) -> Result<String, Box<dyn std::error::Error>> {
    let mut text = String::from("&[\n");
    for service in pool.services() {
        for method in service.methods() {
            let options = prost_types_method_options(&method);
            let streams = method.is_server_streaming() || method.is_client_streaming();
            writeln!(
                text,
                "    MethodRow {{ path: \"/{}/{}\", idempotent: {options}, streaming: {streams} }},",
                service.full_name(),
                method.name()
            )?;
        }
    }
    text.push(']');
    Ok(text)
}

/// True if `idempotency_level` is set to anything but unknown.
fn prost_types_method_options(method: &prost_reflect::MethodDescriptor) -> bool {
    let bytes = method.options().encode_to_vec();
    let field = |n: u32| method.options().get_field_by_number(n).and_then(|v| v.as_enum_number()).unwrap_or_default();
    !bytes.is_empty() && field(34) > 0
}
