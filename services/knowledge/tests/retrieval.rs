//! How well questions meet their articles, over the demo articles.
mod common;

use common::Bench;
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    question: String,
    slug: String,
}

fn rows() -> Vec<Row> {
    include_str!("retrieval.jsonl").lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

fn off_topic() -> Vec<&'static str> {
    include_str!("off_topic.txt").lines().collect()
}

#[tokio::test]
async fn questions_find_their_articles() {
    let bench = Bench::demo().await;
    let rows = rows();
    assert!(rows.len() >= 40);
    let (mut first, mut third, mut misses) = (0, 0, vec![]);
    let mut lowest = f64::MAX;
    for row in &rows {
        let found = bench.ask(&row.question).await;
        let place = found.iter().position(|a| a.passage.slug == row.slug);
        first += usize::from(place == Some(0));
        third += usize::from(place.is_some_and(|p| p < 3));
        if place != Some(0) {
            misses.push(format!("{} -> {:?}", row.question, found.first().map(|a| &a.passage.slug)));
        } else {
            lowest = lowest.min(found[0].score);
        }
    }
    let share = |n: usize| n as f64 / rows.len() as f64;
    println!("top-1 {:.3}, top-3 {:.3}, lowest score {lowest:.2}, misses: {misses:#?}", share(first), share(third));
    assert!(
        share(first) >= 0.8 && share(third) >= 0.95,
        "top-1 {:.3}, top-3 {:.3}: {misses:#?}",
        share(first),
        share(third)
    );
    assert!(lowest >= 0.4, "{lowest}");
}

#[tokio::test]
async fn what_is_about_something_else_finds_nothing() {
    let bench = Bench::demo().await;
    assert!(off_topic().len() >= 12);
    for question in off_topic() {
        let found = bench.ask(question).await;
        assert!(found.is_empty(), "{question} -> {} {:.2}", found[0].passage.slug, found[0].score);
    }
}

#[tokio::test]
async fn a_quote_is_a_part_of_its_text_and_scores_go_down() {
    let bench = Bench::demo().await;
    let titles = switchboard_knowledge::demo::articles().expect("they parse").into_iter().map(|a| a.title);
    let own = rows().into_iter().map(|r| r.question);
    for question in titles.chain(own) {
        let found = bench.ask(&question).await;
        assert!(!found.is_empty(), "{question}");
        for answer in &found {
            assert!(
                !answer.quote.is_empty() && answer.passage.text.contains(&answer.quote),
                "{question}: {:?}",
                answer.quote
            );
            assert!(answer.quote.len() <= 700 && (0.0..=1.0).contains(&answer.score), "{question}");
            assert!(!answer.why.is_empty());
        }
        let mut articles: Vec<_> = found.iter().map(|a| a.passage.article).collect();
        articles.sort();
        articles.dedup();
        assert_eq!(articles.len(), found.len(), "one passage per article");
    }
}

#[tokio::test]
async fn the_same_question_has_the_same_answer() {
    let bench = Bench::demo().await;
    for row in rows() {
        let shown = |found: &[switchboard_knowledge::knowledge::Answer]| {
            found.iter().map(|a| (a.passage.slug.clone(), a.score, a.quote.clone())).collect::<Vec<_>>()
        };
        assert_eq!(shown(&bench.ask(&row.question).await), shown(&bench.ask(&row.question).await), "{}", row.question);
    }
}

#[tokio::test]
async fn any_text_is_answered() {
    let bench = Bench::demo().await;
    let long = "password ".repeat(555);
    for text in [
        "\u{1F980}",
        "' OR 1=1 --",
        "body:password AND title:*",
        "\"",
        "((((",
        "日本語で",
        "a",
        long.as_str(),
        "\u{301}\u{200d}",
    ] {
        bench.ask(text).await;
    }
}
