//! Tells cargo which files outside of `src` are part of the binary.
fn main() {
    println!("cargo:rerun-if-changed=../../migrations/knowledge");
    println!("cargo:rerun-if-changed=../../demo/knowledge");
}
