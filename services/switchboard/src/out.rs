//! What commands print: results on stdout, everything else on stderr.
use std::io::{IsTerminal as _, Write as _};

/// A line on stdout. A reader that has gone is not our failure.
pub(crate) fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
}

/// A line on stderr.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
}

/// A line that says how far a long command is: only where somebody watches.
pub(crate) fn progress(text: impl AsRef<str>) {
    if std::io::stderr().is_terminal() {
        note(text);
    }
}
