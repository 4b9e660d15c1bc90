//! The nearest known name, for messages about unknown ones.

/// Below this likeness a suggestion would be a guess.
const LIKE: f64 = 0.6;

/// `; did you mean ...?`, or nothing if no name is near.
pub fn nearest(name: &str, known: impl IntoIterator<Item = String>) -> String {
    // Swapped letters are the commonest slip; shared beginnings tell long names apart.
    let like = |k: &str| (strsim::normalized_damerau_levenshtein(k, name) + strsim::jaro_winkler(k, name)) / 2.0;
    let best = known.into_iter().map(|k| (like(&k), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(like, _)| *like >= LIKE).map(|(_, k)| format!("; did you mean `{k}`?")).unwrap_or_default()
}
