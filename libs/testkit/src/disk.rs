//! A small disk that a test can fill.
//!
//! In: its size. Out: a folder on a file system of its own, in memory. Never: the machine's own disk.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A file system that ends with the value.
pub struct SmallDisk {
    root: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one; none where that is not allowed, which says SKIPPED: only root may mount.
    #[expect(clippy::print_stderr, reason = "what is not run says so")]
    pub fn mount(mebibytes: u32) -> Option<Self> {
        let root = tempfile::tempdir().expect("a folder");
        let options = format!("size={mebibytes}m,mode=1777");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(root.path())
            .stderr(Stdio::null())
            .status();
        if mount.is_ok_and(|status| status.success()) {
            return Some(SmallDisk { root });
        }
        eprintln!("SKIPPED: a small disk cannot be mounted here; run as root on Linux");
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Leaves nothing free.
    pub fn fill(&self) {
        let mut filler = fs::File::create(self.filler()).expect("a file");
        let block = [0u8; 65_536];
        while std::io::Write::write_all(&mut filler, &block).is_ok() {}
        // What is left is less than a block; take that too.
        while std::io::Write::write_all(&mut filler, &[0]).is_ok() {}
    }

    /// Gives it free again.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("removes the filler");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has files open keeps them until it closes them.
        let _ = Command::new("umount").arg("-l").arg(self.path()).stderr(Stdio::null()).status();
    }
}
