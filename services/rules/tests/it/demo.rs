//! The demo bundle is sound: it loads, and with it all of its own examples pass.
use std::path::Path;

use switchboard_rules::bundle::{Bundle, Files};

#[test]
fn the_demo_bundle_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/policy");
    let files = Files::read(&folder).unwrap_or_else(|e| panic!("{e}"));
    let bundle = Bundle::load(&files).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(bundle.version.len(), 16);
    assert_eq!(bundle.flows.len(), 5);
    assert_eq!(files, Files::demo(), "the folder and what is built in are one bundle");
}
