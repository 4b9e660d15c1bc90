//! The log of who did what: one chain of hashes per organization.
//!
//! In: what happened, and the row before. Out: the row to write; whether rows that were read are as they were written.
//! Never: a person's words: details are numbers.
use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::token::Hash;

/// The hash before the first row.
pub const GENESIS: Hash = [0; 32];

/// A row of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// Counts from 1 in each organization.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who did it; none: the installation itself.
    pub by: Option<Uuid>,
    /// What was done, such as `user.created`.
    pub action: String,
    /// The kind of what it was done to.
    pub resource_type: String,
    /// Its id.
    pub resource_id: Uuid,
    /// How much of what.
    pub details: BTreeMap<String, u64>,
    /// Covers all of it and the row before.
    pub hash: Hash,
}

/// What happened, not yet in the log.
#[derive(Debug, Clone)]
pub struct Entry {
    by: Uuid,
    action: &'static str,
    resource_type: &'static str,
    resource_id: Uuid,
    details: BTreeMap<String, u64>,
}

impl Entry {
    /// Something was done to a user, by somebody; nil: by the installation itself.
    pub fn user(action: &'static str, user: Uuid, by: Uuid) -> Self {
        Entry { by, action, resource_type: "user", resource_id: user, details: BTreeMap::new() }
    }

    /// The installation did something to an organization.
    pub fn organization(action: &'static str, org: Uuid) -> Self {
        Entry { by: Uuid::nil(), action, resource_type: "organization", resource_id: org, details: BTreeMap::new() }
    }

    /// With a number.
    #[must_use]
    pub fn count(mut self, of: &str, count: u64) -> Self {
        self.details.insert(of.to_owned(), count);
        self
    }

    /// The row that follows one of this number and hash.
    pub fn after(self, seq: u64, before: &Hash, org: Uuid, at: Timestamp) -> Activity {
        let mut row = Activity {
            seq: seq + 1,
            at,
            by: Some(self.by).filter(|by| !by.is_nil()),
            action: self.action.to_owned(),
            resource_type: self.resource_type.to_owned(),
            resource_id: self.resource_id,
            details: self.details,
            hash: GENESIS,
        };
        row.hash = row.hashed(before, org);
        row
    }
}

impl Activity {
    fn hashed(&self, before: &Hash, org: Uuid) -> Hash {
        let at = self.at.as_microsecond();
        // A JSON array tells its parts apart, whatever is in them.
        let parts = serde_json::json!([
            org,
            self.seq,
            at,
            self.by,
            self.action,
            self.resource_type,
            self.resource_id,
            self.details
        ]);
        Sha256::new().chain_update(before).chain_update(parts.to_string()).finalize().into()
    }
}

/// Takes the row before off rows that were read from there on, and checks that each follows the one before it. `last` is
/// the number and the hash of the last row there is, where the end was read too.
pub fn checked(
    org: Uuid,
    after: u64,
    mut rows: Vec<Activity>,
    last: Option<(u64, Hash)>,
) -> Result<Vec<Activity>, Broken> {
    let mut before = (0, GENESIS);
    if after > 0 && !rows.is_empty() {
        let first = rows.remove(0);
        before = (first.seq, first.hash);
    }
    for row in &rows {
        if row.seq != before.0 + 1 || row.hash != row.hashed(&before.1, org) {
            return Err(Broken(before.0 + 1));
        }
        before = (row.seq, row.hash);
    }
    match last {
        Some(last) if last.0 >= after && last != before => Err(Broken(before.0 + 1)),
        _ => Ok(rows),
    }
}

/// A log that is not as it was written.
#[derive(Debug, thiserror::Error)]
#[error("row {0} of the activity log was changed or removed after it was written")]
pub struct Broken(u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn log(org: Uuid) -> Vec<Activity> {
        let (mut rows, mut before) = (Vec::new(), (0, GENESIS));
        for _ in 0..4 {
            let entry = Entry::user("user.created", Uuid::new_v4(), Uuid::new_v4()).count("of", 7);
            let row = entry.after(before.0, &before.1, org, Timestamp::UNIX_EPOCH);
            before = (row.seq, row.hash);
            rows.push(row);
        }
        rows
    }

    #[test]
    fn a_change_anywhere_is_noticed() {
        let org = Uuid::new_v4();
        let rows = log(org);
        let last = Some((4, rows[3].hash));
        assert_eq!(checked(org, 0, rows.clone(), last).expect("whole"), rows);
        assert_eq!(checked(org, 2, rows[1..].to_vec(), last).expect("whole"), rows[2..]);
        assert_eq!(checked(org, 4, rows[3..].to_vec(), last).expect("whole"), []);
        type Change = fn(&mut Activity);
        let changes: [Change; 7] = [
            |r| r.at = Timestamp::from_second(1).expect("in range"),
            |r| r.by = None,
            |r| r.action.push('x'),
            |r| r.resource_type.push('x'),
            |r| r.resource_id = Uuid::nil(),
            |r| *r.details.get_mut("of").expect("there") += 1,
            |r| r.hash[0] ^= 1,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            for at in 0..4 {
                let mut changed = rows.clone();
                change(&mut changed[at]);
                checked(org, 0, changed, last).expect_err(&format!("change {index} of row {at}"));
            }
        }
        for gone in 0..4 {
            let mut fewer = rows.clone();
            fewer.remove(gone);
            checked(org, 0, fewer, last).expect_err(&format!("row {gone} is gone"));
        }
        checked(Uuid::new_v4(), 0, rows, last).expect_err("another organization's");
        checked(org, 0, Vec::new(), last).expect_err("all gone");
    }
}
