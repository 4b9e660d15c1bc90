//! Why a service is not well, as anybody may read it.
//!
//! In: the line that a service writes for its operators. Out: which part and what kind of trouble. Never: a host, a port, a
//! user or the name of a database: `/health` is public. The whole line is in the service's log and in its gRPC health.

/// What parts call themselves in that line, and what they are for us.
const PARTS: [(&str, &str); 4] =
    [("PostgreSQL", "store"), ("MongoDB", "sessions"), ("Kafka", "bus"), ("Redis", "cache")];

/// Said before any migration's name.
const MISSING: &str = " lacks migrations of ";

/// Phrases of that line, and what becomes of them. Whatever is not here is only said to be trouble.
const KINDS: [(&str, &str); 10] = [
    ("was not asked yet", "starting"),
    ("cannot be reached", "not reachable"),
    ("does not answer", "does not answer"),
    ("refuses the user or password", "refuses the user or password"),
    ("has no such database", "database missing"),
    ("has no connection left", "no connection left"),
    ("has no disk space left", "disk full"),
    ("is read-only", "read-only"),
    ("does not let this user do that", "rights missing"),
    ("shows a certificate", "certificate refused"),
];

/// The line in public words, such as `store: not reachable`.
pub(crate) fn in_public(why: &str) -> String {
    let mut parts: Vec<String> = why.split("; ").filter_map(part).collect();
    parts.dedup();
    if parts.is_empty() { "not ready".to_owned() } else { parts.join("; ") }
}

fn part(line: &str) -> Option<String> {
    let (_, part) = PARTS.iter().find(|(name, _)| line.starts_with(name))?;
    if let Some((_, rest)) = line.split_once(MISSING) {
        let names = rest.split_once(": ").map_or("", |(_, names)| names);
        // Names of files of ours; anything else is not repeated.
        let plain = |n: &&str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let names: Vec<&str> = names.split(", ").filter(plain).collect();
        return Some(format!("{part}: migrations missing: {}", names.join(", ")));
    }
    let kind = KINDS.iter().find(|(phrase, _)| line.contains(phrase)).map_or("trouble", |(_, kind)| kind);
    Some(format!("{part}: {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_trouble_is_told_and_no_host() {
        let at = "PostgreSQL at db-7.internal:5432/support";
        for (line, public) in [
            (format!("{at} cannot be reached (Connection refused (os error 111))"), "store: not reachable"),
            (format!("{at} refuses the user or password; mend stores.ledger"), "store: refuses the user or password"),
            (
                format!("{at} lacks migrations of rules: 0001_initial, 0002_more; run `switchboard migrate`"),
                "store: migrations missing: 0001_initial, 0002_more",
            ),
            (
                format!("{at} was not asked yet; Kafka at k-1:9092 does not answer"),
                "store: starting; bus: does not answer",
            ),
            (
                format!("{at} shows a certificate for db-8.internal, not for db-7.internal"),
                "store: certificate refused",
            ),
            (format!("{at} answers with SQLSTATE XX000"), "store: trouble"),
            ("something at db-7.internal broke".to_owned(), "not ready"),
            (String::new(), "not ready"),
        ] {
            assert_eq!(in_public(&line), public, "{line}");
        }
        // Not even where a server chooses the words.
        let odd = format!("{at} lacks migrations of x: db-7.internal, 0001_initial; run");
        assert_eq!(in_public(&odd), "store: migrations missing: 0001_initial");
    }
}
