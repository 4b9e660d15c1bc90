//! Builds again when a migration or a file of the built-in bundle changes: both are embedded.
fn main() {
    println!("cargo:rerun-if-changed=../../migrations/rules");
    println!("cargo:rerun-if-changed=../../demo/policy");
}
