//! One server at a time on a data folder: the search index and the turns' leases have one owner.
use std::{
    fs::{File, TryLockError},
    path::Path,
};

use switchboard_runtime::{StartError, sqlite::OpenError};

/// The file that is locked. It stays when the server ends; only the lock on it counts, and the system drops that with the
/// process, however it ends.
const FILE: &str = "lock";

/// Takes the folder until the file is dropped. `switchboard token` and others that only read beside do without.
pub(crate) fn take(folder: &Path) -> Result<File, StartError> {
    let unwritable = |source| OpenError::Folder { folder: folder.display().to_string(), source };
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    let open = File::options().create(true).truncate(false).write(true).open(folder.join(FILE));
    let file = open.map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Other(format!(
            "the data folder {} is in use by another Switchboard; stop that one, or choose another folder with --data",
            folder.display()
        ))),
        Err(TryLockError::Error(e)) => Err(unwritable(e).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::take;

    #[test]
    fn a_folder_has_one_server_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = take(folder.path()).expect("free");
        assert!(take(folder.path()).expect_err("taken").to_string().contains("in use"));
        drop(first);
        take(folder.path()).expect("free again");
    }
}
