//! Ids that look and behave like Salesforce's: three characters for the kind, twelve for the record, three that let
//! systems without upper and lower case tell two ids apart.
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A kind of record by its key prefix, which Salesforce fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Account,
    Contact,
    Case,
    Comment,
    Order,
}

impl Kind {
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Kind::Account => "001",
            Kind::Contact => "003",
            Kind::Case => "500",
            Kind::Comment => "00a",
            Kind::Order => "801",
        }
    }
}

const DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The id of an organization's nth record of a kind: the same each time, so that a replayed run makes the same ids.
pub(crate) fn make(org: Uuid, kind: Kind, number: i64) -> String {
    let mut hash = Sha256::new();
    hash.update(org.as_bytes());
    hash.update(kind.prefix());
    hash.update(number.to_be_bytes());
    let body = hash.finalize().iter().take(12).map(|b| DIGITS[usize::from(*b) % 62] as char).collect::<String>();
    with_suffix(&format!("{}{body}", kind.prefix()))
}

/// Adds the three characters: each tells which of five characters are upper case.
fn with_suffix(id: &str) -> String {
    let suffix = id.as_bytes().chunks(5).map(|five| {
        let bits =
            five.iter().enumerate().filter(|(_, b)| b.is_ascii_uppercase()).map(|(i, _)| 1_usize << i).sum::<usize>();
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bits] as char
    });
    id.chars().chain(suffix).collect()
}

/// True for something that can be a case's id, with or without the three characters.
pub(crate) fn is_case(text: &str) -> bool {
    matches!(text.len(), 15 | 18) && text.starts_with("500") && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The 18 characters of an id that may have been written with 15.
pub(crate) fn full(text: &str) -> String {
    if text.len() == 15 { with_suffix(text) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_is_salesforces() {
        // Upper case in the first, third and fifth place: bits 1 + 4 + 16 = 21 = `V`; none: `A`; all five: `5`.
        assert_eq!(with_suffix("AbCdEabcdeABCDE"), "AbCdEabcdeABCDEVA5");
    }

    #[test]
    fn ids_are_stable_and_differ_by_organization_kind_and_number() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let id = make(a, Kind::Case, 1);
        assert_eq!(id, make(a, Kind::Case, 1));
        assert_eq!(id.len(), 18);
        assert!(id.starts_with("500") && is_case(&id));
        for other in [make(b, Kind::Case, 1), make(a, Kind::Case, 2), make(a, Kind::Contact, 1)] {
            assert_ne!(id, other);
        }
        assert_eq!(full(&id[..15]), id);
    }
}
