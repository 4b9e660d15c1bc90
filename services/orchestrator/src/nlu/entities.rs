//! Things in a text that a program can use: addresses, amounts, dates, numbers of orders, cases, invoices, errors, cards.
//!
//! In: a text and the time (for "tomorrow"). Out: entities in the order of the text, none overlapping: the longest wins,
//! then the one whose form says more. Never: a guess without a pattern behind it.
use std::sync::LazyLock;

use jiff::{
    Timestamp,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use regex::{Captures, Regex};

/// Something found in a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// Kind in snake case.
    pub kind: &'static str,
    /// As written.
    pub value: String,
    /// In one fixed form.
    pub normalized: String,
    /// First character, counted in Unicode scalar values.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
    /// 0 to 1.
    pub confidence: f64,
}

struct Pattern {
    kind: &'static str,
    /// A sign that every match has: most texts have none and skip most patterns.
    sign: Sign,
    /// The entity is group `v`, or the whole match.
    regex: Regex,
    confidence: f64,
    /// The fixed form, or none if the match is no such thing after all.
    normal: fn(&Captures<'_>, &str, Date) -> Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Sign {
    Digit,
    At,
    Dot,
    None,
}

/// In order of priority: where two matches have the same length, the earlier pattern wins.
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let p = |kind: &'static str, sign, regex: &str, confidence, normal| Pattern {
        kind,
        sign,
        regex: Regex::new(regex).expect("the pattern is a constant, compiled by every test"),
        confidence,
        normal,
    };
    let month = r"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?";
    let number = r"\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?|\d+(?:[.,]\d{1,2})?";
    vec![
        p("card_number", Sign::Digit, r"\b\d(?:[ -]?\d){12,18}\b", 0.99, |_, v, _| card(v)),
        p("email", Sign::At, r"[\p{L}\p{N}_.+%-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+", 0.99, |_, v, _| {
            Some(v.to_lowercase())
        }),
        p("url", Sign::Dot, r#"(?i)\b(?P<v>(?:https?://|www\.)[^\s<>"]*[^\s<>"'.,;:!?)\]])"#, 0.98, |_, v, _| {
            Some(v.to_owned())
        }),
        p("invoice_number", Sign::Digit, r"(?i)\b(?P<v>INV-[A-Z0-9-]*\d)\b", 0.99, |_, v, _| upper(v)),
        p("error_code", Sign::Digit, r"(?i)\bBF-\d{4}\b", 0.99, |_, v, _| upper(v)),
        p("order_number", Sign::Digit, r"(?i)\bBS-\d{4,10}\b", 0.99, |_, v, _| upper(v)),
        p("date", Sign::Digit, r"\b\d{4}-\d{2}-\d{2}\b", 0.99, |_, v, _| v.parse::<Date>().ok().map(|d| d.to_string())),
        p("date", Sign::Digit, r"\b(\d{1,2})[/.](\d{1,2})[/.](\d{4}|\d{2})\b", 0.9, |c, _, _| slashed(c)),
        p(
            "date",
            Sign::Digit,
            &format!(
                r"(?i)\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<m>{month})\b\.?(?:,?\s+(?P<y>\d{{4}})\b)?"
            ),
            0.95,
            |c, _, now| named(c, now),
        ),
        p(
            "date",
            Sign::Digit,
            &format!(r"(?i)\b(?P<m>{month})\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<y>\d{{4}})\b)?"),
            0.95,
            |c, _, now| named(c, now),
        ),
        p(
            "date",
            Sign::None,
            r"(?i)\b(?:today|tomorrow|yesterday|(?:next|last)\s+(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
            0.9,
            |_, v, now| relative(v, now),
        ),
        p("amount", Sign::Digit, &format!(r"(?P<v>(?P<s>[$€£])\s?(?P<n>{number}))"), 0.97, |c, _, _| amount(c)),
        p(
            "amount",
            Sign::Digit,
            &format!(r"(?i)\b(?P<v>(?P<n>{number})\s?(?P<s>[$€£]|(?:usd|eur|gbp|dollars?|euros?|pounds?|bucks)\b))"),
            0.95,
            |c, _, _| amount(c),
        ),
        p("amount", Sign::Digit, &format!(r"(?i)\b(?P<v>(?P<s>usd|eur|gbp)\s?(?P<n>{number}))\b"), 0.95, |c, _, _| {
            amount(c)
        }),
        p(
            "error_code",
            Sign::Digit,
            r"(?i)\b(?:errors?|code|status|http)\b(?:\s+(?:code|status|message|is|an?|the|of))*\s*[:#=(]?\s*(?P<v>[1-5]\d\d)\b",
            0.95,
            |_, v, _| Some(v.to_owned()),
        ),
        p(
            "error_code",
            Sign::Digit,
            r"(?i)\b(?P<v>[45]\d\d)\s*(?:errors?|responses?|status|unauthori[sz]ed|forbidden|not found|too many)\b",
            0.95,
            |_, v, _| Some(v.to_owned()),
        ),
        // "I get 500 contacts a day" is no error: what follows has to look like the end of the thought.
        p(
            "error_code",
            Sign::Digit,
            r"(?i)\b(?:get|gets|getting|got|gives?|gave|returns?|returned|returning|sends?|throws?|shows?|see|seeing)\b(?:\s+(?:me|us|an?|the|only|always))*\s+(?P<v>[45]\d\d)(?:s\b)?\s*(?:$|[.,;:!?)]|(?:from|when|on|in|for|with|after|while|every|again|but|and|if|each|since|too|unauthori[sz]ed|forbidden|not|back|instead)\b)",
            0.85,
            |_, v, _| Some(v.to_owned()),
        ),
        p(
            "order_number",
            Sign::Digit,
            r"(?i)\borders?\b\s*(?:number|no\b\.?|nr\b\.?|id)?\s*(?:is|was)?\s*[:#]?\s*(?P<v>\d{4,10})\b",
            0.95,
            |_, v, _| Some(v.to_owned()),
        ),
        p(
            "case_number",
            Sign::Digit,
            r"(?i)\b(?:case|ticket)s?\b\s*(?:number|no\b\.?|nr\b\.?|id)?\s*(?:is|was)?\s*[:#]?\s*(?P<v>\d{3,10})\b",
            0.95,
            |_, v, _| case(v),
        ),
        p(
            "phone",
            Sign::Digit,
            r"(?P<v>(?:\+|\b00)\d{1,3}[\s.-]?(?:\(\d{1,4}\)[\s.-]?)?\d(?:[\s.-]?\d){5,11})\b",
            0.95,
            |_, v, _| phone(v),
        ),
        p("phone", Sign::Digit, r"(?P<v>(?:\(\d{3}\)\s?|\b\d{3}[\s.-])\d{3}[\s.-]\d{4})\b", 0.9, |_, v, _| phone(v)),
        p("phone", Sign::Digit, r"\b(?P<v>0\d{2,4}[\s/-]\d{3,4}[\s-]?\d{2,5})\b", 0.8, |_, v, _| phone(v)),
        p(
            "phone",
            Sign::Digit,
            r"(?i)\b(?:phone|telephone|tel|mobile|cell|call me(?: on| at| back on| back at)?|reach me (?:on|at))\b(?:\s+(?:number|is))*\s*:?\s*(?P<v>\d(?:[\s.-]?\d){6,14})\b",
            0.9,
            |_, v, _| phone(v),
        ),
        p("case_number", Sign::Digit, r"\b\d{8}\b", 0.7, |_, v, _| case(v)),
        p("order_number", Sign::Digit, r"^\s*#?(?P<v>\d{4,7}|\d{9,10})\s*[.!]?\s*$", 0.6, |_, v, _| Some(v.to_owned())),
        p(
            "person_name",
            Sign::None,
            r"\b(?i:i['’]?m|i am|this is)\s+(?P<v>\p{Lu}\p{Ll}+(?:[ -]\p{Lu}[\p{L}'’-]+){0,2})",
            0.75,
            |_, v, _| person(v),
        ),
        p(
            "person_name",
            Sign::None,
            r"\b(?i:my name is|my name['’]s|name['’]s)\s+(?P<v>\p{L}[\p{L}'’-]+(?:\s\p{Lu}[\p{L}'’-]+){0,2})",
            0.9,
            |_, v, _| person(v),
        ),
    ]
});

/// Capitalized words after "I'm" and "this is" that are no names.
const NO_NAMES: &[&str] = &[
    "a",
    "about",
    "afraid",
    "also",
    "an",
    "angry",
    "at",
    "done",
    "for",
    "from",
    "furious",
    "getting",
    "going",
    "good",
    "having",
    "here",
    "in",
    "interested",
    "just",
    "looking",
    "missing",
    "my",
    "new",
    "no",
    "not",
    "now",
    "ok",
    "on",
    "our",
    "out",
    "ready",
    "ridiculous",
    "seeing",
    "so",
    "sorry",
    "still",
    "stuck",
    "sure",
    "the",
    "to",
    "trying",
    "unable",
    "unacceptable",
    "urgent",
    "using",
    "very",
    "waiting",
    "what",
    "why",
    "with",
    "wondering",
    "your",
];

/// Finds all entities of a text.
pub fn find(text: &str, now: Timestamp) -> Vec<Entity> {
    let today = now.to_zoned(TimeZone::UTC).date();
    // \d matches the digits of every script.
    let (digit, at, dot) =
        (text.contains(char::is_numeric), text.contains('@'), text.contains("://") || text.contains('.'));
    let shown = |sign| match sign {
        Sign::Digit => digit,
        Sign::At => at,
        Sign::Dot => dot,
        Sign::None => true,
    };
    let mut found: Vec<(usize, usize, usize, &'static str, String, f64)> = Vec::new();
    for (priority, pattern) in PATTERNS.iter().enumerate().filter(|(_, p)| shown(p.sign)) {
        for captures in pattern.regex.captures_iter(text) {
            let Some(m) = captures.name("v").or_else(|| captures.get(0)) else { continue };
            let Some(normalized) = (pattern.normal)(&captures, m.as_str(), today) else { continue };
            found.push((m.start(), m.end(), priority, pattern.kind, normalized, pattern.confidence));
        }
    }
    found.sort_by_key(|f| (std::cmp::Reverse(f.1 - f.0), f.2, f.0));
    let mut kept: Vec<(usize, usize, usize, &'static str, String, f64)> = Vec::new();
    for f in found {
        if kept.iter().all(|k| f.1 <= k.0 || k.1 <= f.0) {
            kept.push(f);
        }
    }
    kept.sort_by_key(|k| k.0);
    // One walk over the text turns offsets in bytes into offsets in characters.
    let (mut byte, mut chars) = (0, 0);
    kept.into_iter()
        .map(|(start, end, _, kind, normalized, confidence)| {
            chars += text[byte..start].chars().count();
            byte = start;
            let value = text[start..end].to_owned();
            Entity { kind, normalized, start: chars, end: chars + value.chars().count(), value, confidence }
        })
        .collect()
}

fn upper(value: &str) -> Option<String> {
    Some(value.to_uppercase())
}

fn digits(value: &str) -> String {
    value.chars().filter(char::is_ascii_digit).collect()
}

/// The last four digits: nothing that is done with a card here needs more.
fn card(value: &str) -> Option<String> {
    let digits = digits(value);
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let n = u32::from(b - b'0') * (1 + i as u32 % 2);
            n / 10 + n % 10
        })
        .sum();
    let valid = sum.is_multiple_of(10) && digits.bytes().any(|b| b != b'0');
    valid.then(|| format!("**** {}", &digits[digits.len() - 4..]))
}

/// As Salesforce writes it: eight digits.
fn case(value: &str) -> Option<String> {
    Some(format!("{value:0>8}"))
}

fn phone(value: &str) -> Option<String> {
    let digits = digits(value);
    if !(7..=15).contains(&digits.len()) {
        return None;
    }
    let international = value.starts_with('+');
    Some(if international {
        format!("+{digits}")
    } else {
        digits.strip_prefix("00").map_or(digits.clone(), |d| format!("+{d}"))
    })
}

fn amount(captures: &Captures<'_>) -> Option<String> {
    let currency = match captures["s"].to_lowercase().as_str() {
        "$" | "usd" | "dollar" | "dollars" | "bucks" => "USD",
        "€" | "eur" | "euro" | "euros" => "EUR",
        _ => "GBP",
    };
    let written = &captures["n"];
    // "1,200.50" has commas between thousands, "49,90" one before the cents.
    let cents = written.len() >= 3 && written.rfind(',').is_some_and(|i| written.len() - i <= 3);
    let plain = if cents { written.replace(',', ".") } else { written.replace(',', "") };
    Some(format!("{:.2} {currency}", plain.parse::<f64>().ok()?))
}

/// Day, month, year; month and day the other way round only where it cannot be otherwise.
fn slashed(captures: &Captures<'_>) -> Option<String> {
    let part = |i: usize| captures[i].parse::<i16>().ok();
    let (first, second, year) = (part(1)?, part(2)?, part(3)?);
    let year = if year < 100 { 2000 + year } else { year };
    let (day, month) = if second > 12 { (second, first) } else { (first, second) };
    Some(Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?.to_string())
}

fn named(captures: &Captures<'_>, today: Date) -> Option<String> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let name = captures["m"].to_lowercase();
    let month = MONTHS.iter().position(|m| name.starts_with(m))? as i8 + 1;
    let year = captures.name("y").map_or(Some(today.year()), |y| y.as_str().parse().ok())?;
    Some(Date::new(year, month, captures["d"].parse().ok()?).ok()?.to_string())
}

fn relative(value: &str, today: Date) -> Option<String> {
    let value = value.to_lowercase();
    let date = match value.as_str() {
        "today" => today,
        "tomorrow" => today.tomorrow().ok()?,
        "yesterday" => today.yesterday().ok()?,
        _ => {
            let (which, day) = value.split_once(char::is_whitespace)?;
            let day = match day.trim_start() {
                "monday" => Weekday::Monday,
                "tuesday" => Weekday::Tuesday,
                "wednesday" => Weekday::Wednesday,
                "thursday" => Weekday::Thursday,
                "friday" => Weekday::Friday,
                "saturday" => Weekday::Saturday,
                _ => Weekday::Sunday,
            };
            today.nth_weekday(if which == "next" { 1 } else { -1 }, day).ok()?
        }
    };
    Some(date.to_string())
}

fn person(value: &str) -> Option<String> {
    let words: Vec<&str> = value.split_whitespace().collect();
    if NO_NAMES.contains(&words.first()?.to_lowercase().as_str()) {
        return None;
    }
    let capital = |word: &&str| {
        let mut chars = word.chars();
        chars.next().map(|c| c.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    Some(words.iter().map(capital).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Monday.
    fn at(text: &str) -> Vec<(&'static str, String)> {
        let now = "2026-11-23T10:00:00Z".parse().expect("a time");
        find(text, now).into_iter().map(|e| (e.kind, e.normalized)).collect()
    }

    #[test]
    fn each_kind_is_found_in_its_fixed_form() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("write to Jane.Doe@Example.COM please", &[("email", "jane.doe@example.com")]),
            ("see https://app.example.com/a?b=1).", &[("url", "https://app.example.com/a?b=1")]),
            ("call +49 (30) 1234-5678", &[("phone", "+493012345678")]),
            ("my number: (415) 555-0132", &[("phone", "4155550132")]),
            ("phone 5550132", &[("phone", "5550132")]),
            ("charged $1,200.50 twice", &[("amount", "1200.50 USD")]),
            ("49,90 € too much", &[("amount", "49.90 EUR")]),
            ("I paid 20 dollars", &[("amount", "20.00 USD")]),
            ("on 2026-03-01", &[("date", "2026-03-01")]),
            ("on 1/3/26", &[("date", "2026-03-01")]),
            ("on 3/31/2026", &[("date", "2026-03-31")]),
            ("on March 3rd, 2025", &[("date", "2025-03-03")]),
            ("the 5th of may", &[("date", "2026-05-05")]),
            ("tomorrow or next Tuesday", &[("date", "2026-11-24"), ("date", "2026-11-24")]),
            ("last monday", &[("date", "2026-11-16")]),
            ("where is my order 10023", &[("order_number", "10023")]),
            ("order number is #10023?", &[("order_number", "10023")]),
            ("bs-123456", &[("order_number", "BS-123456")]),
            ("10023", &[("order_number", "10023")]),
            ("00001042", &[("case_number", "00001042")]),
            ("check case 1042", &[("case_number", "00001042")]),
            ("ticket #00001042", &[("case_number", "00001042")]),
            ("invoice INV-2026-0042.", &[("invoice_number", "INV-2026-0042")]),
            ("API error 401", &[("error_code", "401")]),
            ("I get a 429 from the API", &[("error_code", "429")]),
            ("the API returns 403", &[("error_code", "403")]),
            ("500 error on save", &[("error_code", "500")]),
            ("what is bf-3007", &[("error_code", "BF-3007")]),
            ("my card 4111 1111 1111 1111", &[("card_number", "**** 1111")]),
            ("I'm Jane", &[("person_name", "Jane")]),
            ("my name is jane Doe and", &[("person_name", "Jane Doe")]),
        ];
        for (text, expected) in table {
            let found = at(text);
            let found: Vec<_> = found.iter().map(|(k, n)| (*k, n.as_str())).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_found_where_there_is_nothing() {
        for text in [
            "how do I export data",
            "I have 3 users and 401 contacts",
            "4111 1111 1111 1112",
            "I'm Still waiting",
            "This is Ridiculous",
            "31/31/2026",
            "in order to save 5 of them",
            "we get 500 contacts a day",
            "I got 200 users in case 5 leave",
            "",
        ] {
            assert_eq!(at(text), [], "{text}");
        }
    }

    #[test]
    fn offsets_count_characters_not_bytes() {
        let text = "Grüß Gott 👋🏽 — order BS-123456, €5";
        let now = "2026-11-23T10:00:00Z".parse().expect("a time");
        let chars: Vec<char> = text.chars().collect();
        let found = find(text, now);
        assert_eq!(found.len(), 2);
        for entity in found {
            assert_eq!(chars[entity.start..entity.end].iter().collect::<String>(), entity.value);
        }
    }

    #[test]
    fn the_longest_wins_where_two_overlap() {
        assert_eq!(at("https://example.com/order/10023?mail=a@b.com").len(), 1);
        assert_eq!(at("order 12345678"), [("order_number", "12345678".to_owned())]);
    }
}
