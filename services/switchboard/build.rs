fn main() {
    // `switchboard migrate` has every store's migrations built in.
    println!("cargo:rerun-if-changed=../../migrations");
}
