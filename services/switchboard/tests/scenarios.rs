//! The scenarios of `tests/scenarios`, played as a user of the command line plays them.
use std::{path::Path, process::Command};

fn play(args: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let played =
        Command::new(env!("CARGO_BIN_EXE_switchboard")).arg("eval").arg(folder).args(args).output().expect("runs");
    let (out, err) = (String::from_utf8_lossy(&played.stdout), String::from_utf8_lossy(&played.stderr));
    assert!(played.status.success(), "{args:?}\n{out}\n{err}");
    assert!(out.contains(" passed, 0 failed"), "{out}");
}

#[test]
fn over_rest() {
    play(&[]);
}

#[test]
fn over_websocket() {
    play(&["--transport", "ws"]);
}

#[test]
fn with_services_that_talk_over_sockets() {
    play(&["--mesh", "tcp"]);
}
