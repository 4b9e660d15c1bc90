//! Articles as passages that can be found and quoted.
//!
//! In: a title and Markdown. Out: chunks of plain text; the first is the lead, which answers what the title asks.
//! Never: a chunk across two headings.
use crate::markdown::{Section, sections};

/// Longer sections are split between their blocks: a passage should be read at a glance.
const LONGEST: usize = 1400;

/// A passage of an article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// From 0 on; 0 is the lead.
    pub number: u32,
    /// The heading it stands under; empty for the lead.
    pub heading: String,
    /// Plain text.
    pub text: String,
}

/// Splits an article. There is always a lead, even if it has to be the title.
pub fn chunks(title: &str, body: &str) -> Vec<Chunk> {
    let mut out: Vec<Chunk> = vec![];
    let mut push = |heading: &str, text: String| {
        let number = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out.push(Chunk { number, heading: heading.to_owned(), text });
    };
    let mut rest: Vec<Section> = sections(body);
    match rest.first_mut() {
        // What comes before the first heading: its first block is the lead.
        Some(first) if first.heading.is_empty() || first.heading == title => {
            push("", first.blocks.remove(0));
        }
        Some(first) => {
            let lead = first.blocks[0].clone();
            push("", lead);
        }
        None => push("", title.to_owned()),
    }
    for section in &rest {
        let mut text = String::new();
        for block in section.blocks.iter().flat_map(|block| pieces(block)) {
            if !text.is_empty() && text.len() + block.len() > LONGEST {
                push(&section.heading, std::mem::take(&mut text));
            }
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&block);
        }
        if !text.is_empty() {
            push(&section.heading, text);
        }
    }
    out
}

/// A block, cut at line or sentence ends if it is too long by itself.
fn pieces(block: &str) -> Vec<String> {
    if block.len() <= LONGEST {
        return vec![block.to_owned()];
    }
    let mut out = vec![];
    let mut piece = String::new();
    for part in block.split_inclusive('\n').flat_map(|line| line.split_inclusive(". ")) {
        if !piece.is_empty() && piece.len() + part.len() > LONGEST {
            out.push(piece.trim().to_owned());
            piece.clear();
        }
        piece.push_str(part);
    }
    out.push(piece.trim().to_owned());
    out.retain(|piece| !piece.is_empty());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_paragraph_is_the_lead() {
        let found = chunks("T", "Lead one. Lead two.\n\nMore.\n\n## Steps\n\n1. A\n2. B\n");
        let shown: Vec<_> = found.iter().map(|c| (c.number, c.heading.as_str(), c.text.as_str())).collect();
        assert_eq!(shown, [(0, "", "Lead one. Lead two."), (1, "", "More."), (2, "Steps", "1. A\n2. B")]);
    }

    #[test]
    fn an_article_that_begins_with_a_heading_has_a_lead_too() {
        let found = chunks("T", "# T\n\nLead.\n\n## Next\n\nx\n");
        assert_eq!(found.iter().map(|c| c.text.as_str()).collect::<Vec<_>>(), ["Lead.", "x"]);
        assert_eq!(chunks("T", "## A\n\nx\n").len(), 2);
        assert_eq!(chunks("T", "\n").len(), 1);
    }

    #[test]
    fn long_sections_are_split_and_nothing_is_lost() {
        let body = format!("Lead.\n\n## Long\n\n{}", "One sentence of some length here. ".repeat(200));
        let found = chunks("T", &body);
        assert!(found.len() > 3 && found.iter().all(|c| c.text.len() <= LONGEST));
        assert_eq!(found.iter().map(|c| c.text.matches("sentence").count()).sum::<usize>(), 200);
    }
}
