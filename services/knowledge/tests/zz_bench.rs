mod common;
use common::{Bench, ORG};
use switchboard_knowledge::knowledge::Question;
#[derive(serde::Deserialize)]
struct Row {
    question: String,
}
#[test]
fn bench() {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let bench = Bench::demo().await;
        let rows: Vec<Row> = include_str!("retrieval.jsonl")
            .lines()
            .chain(include_str!("held_out.jsonl").lines())
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let mut digest = String::new();
        for round in 0..40 {
            let mut t = vec![];
            for row in &rows {
                let q = Question {
                    text: row.question.clone(),
                    limit: 5,
                    language: "en".into(),
                    intent: "feature_inquiry".into(),
                    ..Question::default()
                };
                let s = std::time::Instant::now();
                let found = bench.knowledge.search(ORG, &q).await.unwrap();
                t.push(s.elapsed().as_secs_f64() * 1e6);
                if round == 0 {
                    for a in &found {
                        digest += &format!(
                            "{} {} {:.9} {} | {}\n",
                            row.question,
                            a.passage.slug,
                            a.score,
                            a.why,
                            a.quote.replace('\n', "~")
                        );
                    }
                }
            }
            t.sort_by(f64::total_cmp);
            if [0, 1, 2, 39].contains(&round) {
                println!(
                    "round {round}: p50 {:.0} p90 {:.0} max {:.0} mean {:.0} us",
                    t[t.len() / 2],
                    t[t.len() * 9 / 10],
                    t[t.len() - 1],
                    t.iter().sum::<f64>() / t.len() as f64
                );
            }
        }
        if let Ok(path) = std::env::var("DIGEST") {
            std::fs::write(path, digest).unwrap();
        }
    });
}
