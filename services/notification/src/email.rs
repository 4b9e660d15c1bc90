//! Email addresses, and messages as RFC 5322 wants them.
//!
//! In: a checked notification. Out: the text of a message. Never: a header that somebody else wrote.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;

/// Who writes. Nobody can answer: `.invalid` is reserved for names that are none.
const FROM: &str = "Switchboard <no-reply@switchboard.invalid>";
/// The longest address that SMTP can carry.
const LONGEST_ADDRESS: usize = 254;
/// The longest line of a message, without its end.
const LONGEST_LINE: usize = 998;
/// The longest subject that goes out as it is: with the header's name it stays below the 78 that RFC 5322 asks for.
const PLAIN_SUBJECT: usize = 66;
/// Bytes of one encoded word: 4/3 of them and the frame stay below its 75.
const WORD: usize = 45;
/// Bytes of one line of base64, 76 characters.
const BASE64_LINE: usize = 57;

/// True for one plain address: no name, no list, nothing that would have to be quoted in a header.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"@()<>[]:;,\\\"".contains(c);
    text.len() <= LONGEST_ADDRESS
        && !local.is_empty()
        && local.chars().chain(domain.chars()).all(plain)
        && domain.contains('.')
        && domain.split('.').all(|label| !label.is_empty())
}

/// True if it can be a header's value: no line break of any kind, no control character.
pub fn is_one_line(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// The whole message. `mark` makes its id: a retry has the same, and mail systems show it once.
pub fn message(mark: &str, date: Timestamp, to: &str, subject: &str, text: &str) -> String {
    let (encoding, body) = body(text);
    let headers = [
        ("Date", date.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()),
        ("From", FROM.to_owned()),
        ("To", to.to_owned()),
        ("Subject", subject_value(subject)),
        ("Message-ID", format!("<{mark}@switchboard.invalid>")),
        // RFC 3834: keeps holiday notices from answering.
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ("Content-Transfer-Encoding", encoding.to_owned()),
    ];
    let mut out: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    out.push_str("\r\n");
    out.push_str(&body);
    out
}

/// A subject as it is, or in encoded words (RFC 2047) on lines of their own.
fn subject_value(subject: &str) -> String {
    let edges_hold = subject.trim() == subject;
    if subject.is_ascii() && subject.len() <= PLAIN_SUBJECT && edges_hold && !subject.contains("=?") {
        return subject.to_owned();
    }
    let mut words = vec![String::new()];
    for c in subject.chars() {
        // A character is never cut: each word is decoded on its own.
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > WORD) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let words: Vec<_> = words.iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n ")
}

/// The body with its transfer encoding: as it is where lines allow it, so that a person can read the file.
fn body(text: &str) -> (&'static str, String) {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<_> = text.strip_suffix('\n').unwrap_or(&text).split('\n').collect();
    let readable = |line: &&str| line.len() <= LONGEST_LINE && !line.chars().any(|c| c.is_control() && c != '\t');
    let whole = lines.join("\r\n") + "\r\n";
    if lines.iter().all(readable) {
        return (if whole.is_ascii() { "7bit" } else { "8bit" }, whole);
    }
    let encoded = whole.as_bytes().chunks(BASE64_LINE).map(|line| STANDARD.encode(line) + "\r\n");
    ("base64", encoded.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject_of(subject: &str) -> String {
        let text = message("m", Timestamp::UNIX_EPOCH, "a@example.com", subject, "x");
        let start = text.find("Subject: ").expect("there") + 9;
        let end = text.find("\r\nMessage-ID").expect("there");
        text[start..end].to_owned()
    }

    /// As a mail program does it.
    fn decoded(value: &str) -> String {
        let word = |w: &str| {
            let inner = w.strip_prefix("=?UTF-8?B?").and_then(|w| w.strip_suffix("?=")).expect("an encoded word");
            assert!(w.len() <= 75, "{w}");
            String::from_utf8(STANDARD.decode(inner).expect("base64")).expect("whole characters")
        };
        value.split("\r\n ").map(word).collect()
    }

    #[test]
    fn a_message_has_what_it_must_have() {
        let date = "2026-11-03T04:05:06.789Z".parse().expect("a time");
        let text =
            message("0123456789abcdef", date, "jane@example.com", "Reset your password", "Hello\n\nBye: \u{e9}\n");
        assert_eq!(
            text,
            "Date: Tue, 03 Nov 2026 04:05:06 +0000\r\n\
             From: Switchboard <no-reply@switchboard.invalid>\r\n\
             To: jane@example.com\r\n\
             Subject: Reset your password\r\n\
             Message-ID: <0123456789abcdef@switchboard.invalid>\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\
             \r\n\
             Hello\r\n\r\nBye: \u{e9}\r\n"
        );
    }

    #[test]
    fn subjects_are_encoded_where_they_must_be() {
        assert_eq!(subject_of("Your case #42"), "Your case #42");
        let long = "word ".repeat(51);
        for subject in ["Grüße 👋", "=?UTF-8?B?eA==?=", " blanks ", "日本語の件名".repeat(20).as_str(), &long]
        {
            assert_eq!(decoded(&subject_of(subject)), subject);
        }
    }

    #[test]
    fn bodies_are_readable_where_they_can_be() {
        assert_eq!(body("a\rb\r\nc\nd"), ("7bit", "a\r\nb\r\nc\r\nd\r\n".to_owned()));
        assert_eq!(body("é"), ("8bit", "é\r\n".to_owned()));
        for hard in ["x".repeat(999), "bell \u{7}".to_owned()] {
            let (encoding, text) = body(&hard);
            assert_eq!(encoding, "base64");
            assert!(text.lines().all(|line| line.len() <= 76));
            let bytes = STANDARD.decode(text.replace("\r\n", "")).expect("base64");
            assert_eq!(String::from_utf8(bytes).expect("text"), hard + "\r\n");
        }
    }

    #[test]
    fn only_single_plain_addresses_are_taken() {
        for good in ["jane@example.com", "o'brien+tag@mail.example.co.uk", "jörg@müller.example"] {
            assert!(is_address(good), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(243));
        for bad in [
            "",
            "jane",
            "@example.com",
            "jane@",
            "jane@localhost",
            "jane@ex..com",
            "a@b@example.com",
            "a@example.com,b@example.com",
            "Jane <a@example.com>",
            "a@example.com\r\nBcc: b@example.com",
            "a b@example.com",
            "a@example.com\n",
            &long,
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
    }

    #[test]
    fn line_breaks_of_every_kind_are_seen() {
        assert!(is_one_line("Grüße 👋"));
        for bad in ["a\nb", "a\rb", "a\r\nBcc: x", "a\u{85}b", "a\u{2028}b", "a\u{2029}b", "a\u{b}b", "a\u{0}b"] {
            assert!(!is_one_line(bad), "{bad:?}");
        }
    }
}
