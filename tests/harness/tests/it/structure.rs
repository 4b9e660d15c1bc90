//! The shape of the tree, held to what the documents say.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use switchboard_runtime::topology;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("reads").flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text += &fs::read_to_string(path).expect("reads");
        }
    }
    text
}

#[test]
fn no_service_depends_on_another() {
    for service in topology::services().keys() {
        let text = fs::read_to_string(root().join("services").join(service).join("Cargo.toml")).expect("reads");
        let manifest: toml::Table = text.parse().expect("parses");
        for (section, value) in &manifest {
            let Some(table) = value.as_table().filter(|_| section.ends_with("dependencies")) else { continue };
            for dependency in table.keys() {
                let other =
                    dependency.strip_prefix("switchboard-").filter(|name| topology::services().contains_key(*name));
                assert!(other.is_none(), "{service} depends on {dependency} ({section})");
                assert_ne!(dependency, "switchboard", "{service} depends on the all-in-one");
            }
        }
    }
}

#[test]
fn the_code_uses_exactly_the_links_of_topology_toml() {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for service in topology::services().keys() {
        let text = sources(&root().join("services").join(service).join("src"));
        for part in text.split(".connect(\"").skip(1) {
            let callee = part.split('"').next().expect("a name");
            // A database's address is no service.
            if !callee.contains(':') {
                used.entry(callee.to_owned()).or_default().insert(service.clone());
            }
        }
        // Links that are made from a list.
        if let Some(list) = text.split("const CALLED: ").nth(1).and_then(|t| t.split(';').nth(1)) {
            for callee in list.split('"').skip(1).step_by(2) {
                used.entry(callee.to_owned()).or_default().insert(service.clone());
            }
        }
        // Verifying a token asks identity for its keys.
        if text.contains(".verifier()") && service != "identity" {
            used.entry("identity".to_owned()).or_default().insert(service.clone());
        }
    }
    for (callee, entry) in topology::services() {
        let allowed: BTreeSet<String> = entry.callers.keys().cloned().collect();
        assert_eq!(
            used.remove(callee).unwrap_or_default(),
            allowed,
            "callers of {callee}: the code on the left, topology.toml on the right"
        );
    }
    assert!(used.is_empty(), "links to no service: {used:?}");
}

#[test]
fn every_service_has_the_same_rooms() {
    for service in topology::services().keys() {
        let src = root().join("services").join(service).join("src");
        for file in ["main.rs", "lib.rs", "config.rs", "error.rs"] {
            assert!(src.join(file).exists(), "{service} has no {file}");
        }
        let main = fs::read_to_string(src.join("main.rs")).expect("reads");
        assert!(main.lines().count() <= 15, "{service}/main.rs is not thin");
        let lib = fs::read_to_string(src.join("lib.rs")).expect("reads");
        assert!(lib.starts_with("//!") && lib.contains("Never:"), "{service}/lib.rs does not say what it never does");
    }
}

#[test]
fn the_tree_stands_alone() {
    // Written apart, so that this file does not find itself.
    let forbidden = [["..", "shared"].join("/"), ["", "work", "main"].join("/")];
    let skip = ["target", ".git", "node_modules", ".switchboard"];
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("reads").flatten() {
            let path = entry.path();
            if skip.iter().any(|s| path.ends_with(s)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                for word in &forbidden {
                    assert!(!text.contains(word), "{} names {word}", path.display());
                }
            }
        }
    }
}
