//! What came of it, for people and for machines.
use serde::Serialize;

/// How one scenario went.
#[derive(Debug, Serialize)]
pub(crate) struct Played {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) passed: bool,
    pub(crate) seconds: f64,
    /// What differs from what was expected.
    pub(crate) differences: Vec<String>,
}

/// How all of them went.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) seconds: f64,
    pub(crate) scenarios: Vec<Played>,
}

impl Report {
    pub(crate) fn new(scenarios: Vec<Played>) -> Self {
        let passed = scenarios.iter().filter(|s| s.passed).count();
        let seconds = scenarios.iter().map(|s| s.seconds).sum();
        Report { passed, failed: scenarios.len() - passed, seconds, scenarios }
    }

    /// The report in the form that CI systems read.
    pub(crate) fn junit(&self) -> String {
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"scenarios\" tests=\"{}\" failures=\"{}\" time=\"{:.3}\">\n",
            self.scenarios.len(),
            self.failed,
            self.seconds
        );
        for played in &self.scenarios {
            let (name, file) = (escape(&played.name), escape(&played.file));
            xml.push_str(&format!("    <testcase classname=\"{file}\" name=\"{name}\" time=\"{:.3}\"", played.seconds));
            if played.passed {
                xml.push_str("/>\n");
                continue;
            }
            let first = played.differences.first().map(|d| escape(d)).unwrap_or_default();
            let all = escape(&played.differences.join("\n"));
            xml.push_str(&format!(">\n      <failure message=\"{first}\">{all}</failure>\n    </testcase>\n"));
        }
        xml.push_str("  </testsuite>\n</testsuites>\n");
        xml
    }
}

impl Played {
    /// One line, and one more for each difference.
    pub(crate) fn lines(&self) -> String {
        let mark = if self.passed { '✓' } else { '✗' };
        let mut text = format!("{mark} {} ({:.2} s)", self.name, self.seconds);
        for difference in &self.differences {
            text.push_str(&format!("\n    {difference}"));
        }
        text
    }
}

/// XML has no place for most control characters, not even escaped.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_in_every_form() {
        let bad = Played {
            name: "A <b>".into(),
            file: "a.yaml".into(),
            passed: false,
            seconds: 0.25,
            differences: vec!["reply: \"x\" & \u{1}".into(), "status".into()],
        };
        let good = Played { name: "B".into(), file: "b.yaml".into(), passed: true, seconds: 0.5, differences: vec![] };
        assert_eq!(bad.lines(), "✗ A <b> (0.25 s)\n    reply: \"x\" & \u{1}\n    status");
        assert_eq!(good.lines(), "✓ B (0.50 s)");
        let report = Report::new(vec![bad, good]);
        assert_eq!((report.passed, report.failed, report.seconds), (1, 1, 0.75));
        let xml = report.junit();
        assert!(xml.contains("tests=\"2\" failures=\"1\" time=\"0.750\""), "{xml}");
        assert!(
            xml.contains("name=\"A &lt;b&gt;\"") && xml.contains("message=\"reply: &quot;x&quot; &amp; \u{fffd}\""),
            "{xml}"
        );
        assert!(xml.contains("name=\"B\" time=\"0.500\"/>"), "{xml}");
    }
}
