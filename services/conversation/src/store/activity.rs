//! The log of who did what to whose data: one chain of hashes per organization.
//!
//! In: what happened, and the end of the chain. Out: the row to write; whether rows that were read are as they were written.
//! Never: a person's words: details are numbers.
use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::error::Error;

/// A link of the chain.
pub type Hash = [u8; 32];

/// Before the first row.
pub(super) const START: (u64, Hash) = (0, [0; 32]);

/// Who does something, and when.
#[derive(Debug, Clone, Copy)]
pub struct By {
    /// The user; nil for the service itself.
    pub actor: Uuid,
    /// The time of it.
    pub now: Timestamp,
}

/// What happened, not yet in the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Such as `person_erased`.
    pub action: &'static str,
    /// The kind of what it was done to.
    pub resource_type: &'static str,
    /// Its id.
    pub resource: Option<Uuid>,
    /// How much of what.
    pub details: BTreeMap<String, u64>,
}

impl Entry {
    /// Something was done with what is known of a person.
    pub fn person(action: &'static str, person: Uuid) -> Self {
        Entry { action, resource_type: "person", resource: Some(person), details: BTreeMap::new() }
    }

    /// The row that follows the end of the chain.
    pub(super) fn after(self, end: (u64, Hash), org: Uuid, by: By) -> Activity {
        let mut row = Activity {
            seq: end.0 + 1,
            at: by.now,
            actor: by.actor,
            action: self.action.to_owned(),
            resource_type: self.resource_type.to_owned(),
            resource: self.resource,
            details: self.details,
            hash: START.1,
        };
        row.hash = row.hashed(&end.1, org);
        row
    }
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// From 1 on in each organization, without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who did it; nil: the service itself.
    pub actor: Uuid,
    /// What was done.
    pub action: String,
    /// The kind of what it was done to.
    pub resource_type: String,
    /// Its id.
    pub resource: Option<Uuid>,
    /// How much of what.
    pub details: BTreeMap<String, u64>,
    /// Over all of it and the row before.
    pub hash: Hash,
}

impl Activity {
    fn hashed(&self, before: &Hash, org: Uuid) -> Hash {
        let at = self.at.as_microsecond();
        // A JSON array tells its parts apart, whatever is in them.
        let parts = serde_json::json!([
            org,
            self.seq,
            at,
            self.actor,
            self.action,
            self.resource_type,
            self.resource,
            self.details
        ]);
        Sha256::new().chain_update(before).chain_update(parts.to_string()).finalize().into()
    }
}

/// Rows that were read after a seq, checked: each follows the one before it, the first follows `before` (the row with that
/// seq), and if there were fewer than asked for, the last is the end of the chain.
pub(super) fn read(
    org: Uuid,
    after: u64,
    before: Option<(u64, Hash)>,
    rows: Vec<Activity>,
    limit: u32,
    end: Option<(u64, Hash)>,
) -> Result<Vec<Activity>, Error> {
    let end = end.unwrap_or(START);
    if after >= end.0 {
        // Nothing is said to be there.
        return if rows.is_empty() { Ok(rows) } else { Err(Error::LogBroken(end.0 + 1)) };
    }
    let mut last = before.unwrap_or(START);
    if last.0 != after {
        return Err(Error::LogBroken(after));
    }
    for row in &rows {
        if row.seq != last.0 + 1 || row.hash != row.hashed(&last.1, org) {
            return Err(Error::LogBroken(last.0 + 1));
        }
        last = (row.seq, row.hash);
    }
    let whole = rows.len() < limit as usize || last.0 >= end.0;
    if whole && last != end { Err(Error::LogBroken(last.0 + 1)) } else { Ok(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORG: Uuid = Uuid::from_u128(1);

    fn log() -> Vec<Activity> {
        let (mut rows, mut end) = (Vec::new(), START);
        for n in 0..4 {
            let mut entry = Entry::person("person_exported", Uuid::from_u128(n));
            entry.details.insert("conversations".to_owned(), 7);
            let row = entry.after(end, ORG, By { actor: Uuid::nil(), now: Timestamp::UNIX_EPOCH });
            end = (row.seq, row.hash);
            rows.push(row);
        }
        rows
    }

    fn end(rows: &[Activity]) -> Option<(u64, Hash)> {
        rows.last().map(|row| (row.seq, row.hash))
    }

    #[test]
    fn what_is_as_it_was_written_is_read() {
        let rows = log();
        let (head, second) = (end(&rows), end(&rows[..2]));
        assert_eq!(read(ORG, 0, None, rows.clone(), 10, head).expect("all").len(), 4);
        assert_eq!(read(ORG, 0, None, rows[..2].to_vec(), 2, head).expect("a first page").len(), 2);
        assert_eq!(read(ORG, 2, second, rows[2..].to_vec(), 2, head).expect("a last page").len(), 2);
        assert!(read(ORG, 4, head, vec![], 2, head).expect("after the end").is_empty());
        assert!(read(ORG, 0, None, vec![], 2, None).expect("an empty log").is_empty());
    }

    #[test]
    fn a_changed_removed_or_moved_row_is_noticed() {
        let rows = log();
        let head = end(&rows);
        read(Uuid::from_u128(2), 0, None, rows.clone(), 10, head).expect_err("of another organization");
        read(ORG, 0, None, rows[..3].to_vec(), 10, head).expect_err("cut off");
        read(ORG, 0, None, vec![], 10, head).expect_err("emptied");
        read(ORG, 0, None, rows.clone(), 10, None).expect_err("without its end");
        read(ORG, 2, None, rows[2..].to_vec(), 10, head).expect_err("without the row before");
        for at in 0..rows.len() {
            let mut without = rows.clone();
            without.remove(at);
            read(ORG, 0, None, without, 10, head).expect_err("removed");
            let mut changed = rows.clone();
            changed[at].details.insert("conversations".to_owned(), 8);
            read(ORG, 0, None, changed.clone(), 10, head).expect_err("changed");
            let before = if at == 0 { START.1 } else { rows[at - 1].hash };
            changed[at].hash = changed[at].hashed(&before, ORG);
            read(ORG, 0, None, changed, 10, head).expect_err("changed, with a hash that fits it");
        }
    }
}
