//! The audit as a chain: each row's hash covers the row and the hash of the one before.
//!
//! In: changes, or rows as they were read. Out: rows to write, or rows that were checked. Never: SQL.
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{AuditRow, By};
use crate::{article::hex, error::Error};

/// What is changed here.
pub(super) const RESOURCE: &str = "article";

/// One change to be noted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) action: &'static str,
    pub(super) article: Uuid,
    pub(super) version: u32,
}

/// The last row of a chain; none is row 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) hash: Vec<u8>,
}

/// A row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) at: Timestamp,
    /// None: the service itself.
    pub(super) actor: Option<Uuid>,
    pub(super) action: String,
    pub(super) article: Uuid,
    pub(super) version: u32,
    pub(super) hash: Vec<u8>,
}

impl Row {
    fn hashed(&self, org: Uuid, before: &[u8]) -> Vec<u8> {
        let Row { seq, action, article, version, .. } = self;
        let (at, actor) = (self.at.as_microsecond(), self.actor.unwrap_or_default());
        let row = format!("{org} {seq} {at} {actor} {action} {RESOURCE} {article} {version}");
        Sha256::new().chain_update(before).chain_update(row).finalize().to_vec()
    }
}

impl Head {
    /// The rows that follow; the head moves to the last of them.
    pub(super) fn append(&mut self, org: Uuid, by: By, changes: &[Change]) -> Vec<Row> {
        let next = |change: &Change| {
            let mut row = Row {
                seq: self.seq + 1,
                at: by.now,
                actor: Some(by.actor).filter(|id| !id.is_nil()),
                action: change.action.to_owned(),
                article: change.article,
                version: change.version,
                hash: vec![],
            };
            row.hash = row.hashed(org, &self.hash);
            *self = Head { seq: row.seq, hash: row.hash.clone() };
            row
        };
        changes.iter().map(next).collect()
    }

    /// Checks rows that were read for a [`Page`] and gives those that it asks for. The head is the chain's.
    pub(super) fn check(&self, org: Uuid, page: Page, rows: Vec<Row>) -> Result<Vec<AuditRow>, Error> {
        let (after, full) = (page.from, rows.len() >= usize::try_from(page.limit).unwrap_or(usize::MAX));
        let mut last = Head { seq: (after - 1).max(0), hash: vec![] };
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            if row.seq != last.seq + 1 {
                return Err(Error::Row(format!("audit row {} is gone", last.seq + 1)));
            }
            // The row before the first one asked for is read only for its hash.
            if row.seq != after && row.hash != row.hashed(org, &last.hash) {
                return Err(Error::Row(format!("audit row {} was changed after it was written", row.seq)));
            }
            last = Head { seq: row.seq, hash: row.hash };
            if row.seq > after {
                out.push(AuditRow {
                    seq: row.seq.unsigned_abs(),
                    action: row.action,
                    article: row.article,
                    version: row.version,
                    hash: hex(&last.hash),
                });
            }
        }
        if !full && after <= self.seq && last != *self {
            return Err(Error::Row(format!("audit rows up to {} are gone or were changed", self.seq)));
        }
        Ok(out)
    }
}

/// What to read for some rows: the one before them too, for its hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    /// The first row to read.
    pub(super) from: i64,
    /// So many of them.
    pub(super) limit: i64,
}

impl Page {
    /// `limit` rows after `after`.
    pub(super) fn after(after: u64, limit: u32) -> Self {
        let from = i64::try_from(after).unwrap_or(i64::MAX);
        Page { from, limit: i64::from(limit) + i64::from(from > 0) }
    }
}
