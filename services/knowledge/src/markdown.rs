//! Markdown as plain text.
//!
//! In: Markdown. Out: sections of plain text blocks, marks gone, words kept. Never: HTML; it shows text to be searched and
//! quoted, not pages.
use std::sync::LazyLock;

use regex::Regex;

/// What stands under one heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The heading; empty before the first one.
    pub heading: String,
    /// Paragraphs, lists, tables and code, each without marks.
    pub blocks: Vec<String>,
}

/// Splits a text by its headings.
pub fn sections(markdown: &str) -> Vec<Section> {
    let mut out = vec![Section { heading: String::new(), blocks: vec![] }];
    let mut block: Vec<String> = vec![];
    let mut fence: Option<char> = None;
    let mut header: Option<Vec<String>> = None;
    for line in markdown.lines() {
        let trimmed = line.trim();
        if let Some(mark) = fence {
            if trimmed.len() >= 3 && trimmed.chars().all(|c| c == mark) {
                fence = None;
                close(&mut out, &mut block);
            } else {
                block.push(line.trim_end().to_owned());
            }
            continue;
        }
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            close(&mut out, &mut block);
            fence = trimmed.chars().next();
            continue;
        }
        if trimmed.is_empty() {
            header = None;
            close(&mut out, &mut block);
            continue;
        }
        if let Some(heading) = heading(trimmed) {
            header = None;
            close(&mut out, &mut block);
            out.push(Section { heading: inline(heading), blocks: vec![] });
            continue;
        }
        if trimmed.starts_with('|') {
            let cells = cells(trimmed);
            if cells.iter().all(|c| c.chars().all(|c| matches!(c, '-' | ':'))) {
                continue;
            }
            match &header {
                None => header = Some(cells),
                Some(names) => block.push(row(names, &cells)),
            }
            continue;
        }
        header = None;
        if is_rule(trimmed) {
            close(&mut out, &mut block);
            continue;
        }
        let quoted = trimmed.trim_start_matches(['>', ' ']);
        if let Some(item) =
            quoted.strip_prefix("- ").or_else(|| quoted.strip_prefix("* ")).or_else(|| quoted.strip_prefix("+ "))
        {
            block.push(format!("• {}", inline(item.trim())));
        } else if ordered(quoted) || block.is_empty() || !continues(&block) {
            block.push(inline(quoted));
        } else if let Some(last) = block.last_mut() {
            // A line break inside a paragraph is only a space.
            last.push(' ');
            last.push_str(&inline(quoted));
        }
    }
    close(&mut out, &mut block);
    out.retain(|section| !section.blocks.is_empty());
    out
}

fn close(out: &mut [Section], block: &mut Vec<String>) {
    let text = std::mem::take(block).join("\n").trim_matches('\n').to_owned();
    if let (Some(section), false) = (out.last_mut(), text.trim().is_empty()) {
        section.blocks.push(text);
    }
}

fn heading(line: &str) -> Option<&str> {
    let level = line.bytes().take_while(|b| *b == b'#').count();
    let rest = line.get(level..)?;
    ((1..=6).contains(&level) && rest.starts_with(' ')).then(|| rest.trim().trim_end_matches('#').trim_end())
}

fn is_rule(line: &str) -> bool {
    line.len() >= 3
        && (line.bytes().all(|b| b == b'-') || line.bytes().all(|b| b == b'*') || line.bytes().all(|b| b == b'_'))
}

fn ordered(line: &str) -> bool {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && digits < 4 && line.get(digits..).is_some_and(|rest| rest.starts_with(". ") || rest.starts_with(") "))
}

fn continues(block: &[String]) -> bool {
    block.last().is_some_and(|line| !line.is_empty())
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim_matches('|').replace("\\|", "\u{1}");
    inner.split('|').map(|cell| inline(cell.trim()).replace('\u{1}', "|")).collect()
}

/// A table row as words: each cell after the name of its column.
fn row(names: &[String], cells: &[String]) -> String {
    let parts = cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty()).map(|(i, cell)| match names.get(i) {
        Some(name) if !name.is_empty() => format!("{name}: {cell}"),
        _ => cell.clone(),
    });
    parts.collect::<Vec<_>>().join("; ") + "."
}

static LINK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\x22[^\x22]*\x22)?\)").expect("a valid pattern"));
static STRONG: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\*\*([^*]+)\*\*|__([^_]+)__").expect("a valid pattern"));
static EMPHASIS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\*([^*\s][^*]*)\*").expect("a valid pattern"));

/// One line without marks. What stands in backticks stays as it is.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            out.push_str(part);
            continue;
        }
        let part = LINK.replace_all(part, "$1");
        let part = STRONG.replace_all(&part, "$1$2");
        let part = EMPHASIS.replace_all(&part, "$1");
        out.push_str(&part.replace("**", "").replace("\\_", "_").replace("\\*", "*"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_words_stay() {
        let text = "Open **Data > Imports** and [read this](https://x.example/a \"t\") or `map_columns **now**`.\n\n## The *plan*\n\n\
                    1. First\n2. Second\n\n- **A:** one\n\n| Plan | Price |\n|---|---|\n| Free | 0 |\n\n```bash\ncurl -X **\n\n# not a heading\n```\n";
        let sections = sections(text);
        assert_eq!(sections[0].blocks, ["Open Data > Imports and read this or map_columns **now**."]);
        assert_eq!(sections[1].heading, "The plan");
        assert_eq!(
            sections[1].blocks,
            ["1. First\n2. Second", "• A: one", "Plan: Free; Price: 0.", "curl -X **\n\n# not a heading"]
        );
    }

    #[test]
    fn strong_text_across_code_loses_its_marks() {
        assert_eq!(sections("**BF-4015 in `x`:** too large\n")[0].blocks, ["BF-4015 in x: too large"]);
    }

    #[test]
    fn odd_input_does_no_harm() {
        for text in ["", "```", "|", "||", "####### x", "*", "**", "`", "[", "1.", "---", "|a|\n|", "\u{feff}", "> > "]
        {
            sections(text);
        }
    }
}
