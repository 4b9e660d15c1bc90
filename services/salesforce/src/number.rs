//! Case and order numbers as people write them.
//!
//! In: "#1042", "case 1042", "bs 100234". Out: the form to look up. Never: a guess between two records.

/// Digits of a case number in Salesforce's usual format.
const CASE_DIGITS: usize = 8;

/// A case number with its leading zeros; none if the text holds no one number.
pub(crate) fn case(text: &str) -> Option<String> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
    let (number, None) = (numbers.next()?, numbers.next()) else { return None };
    let significant = number.trim_start_matches('0');
    (significant.len() <= CASE_DIGITS && !significant.is_empty()).then(|| format!("{significant:0>CASE_DIGITS$}"))
}

/// The nth case number of an organization.
pub(crate) fn nth_case(n: i64) -> String {
    format!("{n:0>CASE_DIGITS$}")
}

/// An order number without what people put around and between its parts: `order #bs 100234` → `BS100234`.
pub(crate) fn order(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let parts = upper.split(|c: char| !c.is_ascii_alphanumeric());
    parts.filter(|p| !matches!(*p, "ORDER" | "NUMBER" | "NO" | "NR" | "ID" | "MY")).collect()
}

/// The digits of an order number, for people who leave the letters out.
pub(crate) fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_numbers_are_read_as_written() {
        for text in ["1042", "#1042", "00001042", "case 1042", "Case no. 1042.", "0000001042"] {
            assert_eq!(case(text).as_deref(), Some("00001042"), "{text}");
        }
        for text in ["", "#", "my case", "10 42", "123456789", "0"] {
            assert_eq!(case(text), None, "{text}");
        }
        assert_eq!(nth_case(1001), "00001001");
    }

    #[test]
    fn order_numbers_are_read_as_written() {
        for text in ["BS-100234", "bs 100234", "#bs100234", "Order no. BS-100234", "bs–100234"] {
            assert_eq!(order(text), "BS100234", "{text}");
        }
        assert_eq!(order("10023"), "10023");
        assert_eq!(digits("BS-100234"), "100234");
    }
}
