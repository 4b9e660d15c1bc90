use switchboard_orchestrator::{
    nlu::{IntentModel, parse_examples},
    understand::{Words, understand},
};
#[test]
fn bench() {
    let model = IntentModel::train(&parse_examples(include_str!("../../../demo/nlu/train.jsonl")).unwrap());
    let rows = parse_examples(include_str!("../../../demo/nlu/test.jsonl")).unwrap();
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    let mut digest = String::new();
    for round in 0..20 {
        let (mut t, mut p) = (vec![], vec![]);
        for row in &rows {
            for (message, language) in
                [(row.text.clone(), ""), (format!("{} and I have been waiting for hours", row.text), "en")]
            {
                let s = std::time::Instant::now();
                let u = understand(
                    &model,
                    &Words {
                        message: &message,
                        earlier: &["How do I import contacts from a CSV file?"],
                        language,
                        in_flow: false,
                        threshold: 0.7,
                        now,
                    },
                );
                t.push(s.elapsed().as_secs_f64() * 1e6);
                let s = std::time::Instant::now();
                model.predict(&message);
                p.push(s.elapsed().as_secs_f64() * 1e6);
                if round == 0 {
                    digest += &format!("{message} {u:?}\n");
                }
            }
        }
        t.sort_by(f64::total_cmp);
        p.sort_by(f64::total_cmp);
        if [0, 19].contains(&round) {
            println!(
                "round {round}: p50 {:.0} p90 {:.0} max {:.0} mean {:.0} us; predict p50 {:.0}",
                t[t.len() / 2],
                t[t.len() * 9 / 10],
                t[t.len() - 1],
                t.iter().sum::<f64>() / t.len() as f64,
                p[p.len() / 2]
            );
        }
    }
    if let Ok(path) = std::env::var("DIGEST") {
        std::fs::write(path, digest).unwrap();
    }
}
