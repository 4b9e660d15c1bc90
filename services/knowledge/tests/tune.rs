mod common;
use common::Bench;
#[tokio::test]
async fn tune() {
    let t = tokio::time::Instant::now();
    let bench = Bench::demo().await;
    println!("import {:?}", t.elapsed());
    let (mut n, mut one, mut three) = (0, 0, 0);
    let mut scores = vec![];
    for line in include_str!("retrieval.jsonl").lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let (q, want) = (row["question"].as_str().unwrap(), row["slug"].as_str().unwrap());
        let found = bench.ask(q).await;
        n += 1;
        let at = found.iter().position(|a| a.passage.slug == want);
        if at == Some(0) { one += 1 }
        if at.is_some_and(|a| a < 3) { three += 1 }
        scores.push(found.first().map_or(0.0, |a| a.score));
        if at != Some(0) || !found[0].passage.is_lead_or(q) {
            println!("{} {q}\n    want {want}", if at == Some(0) { "lead?" } else { "MISS" });
            for a in found.iter().take(3) { println!("    {:.3} {} [{}] {} || {}", a.score, a.passage.slug, a.passage.heading, a.why, a.quote.chars().take(90).collect::<String>().replace('\n', " / ")) }
        }
    }
    scores.sort_by(f64::total_cmp);
    println!("n {n} top1 {:.3} top3 {:.3}", one as f64 / n as f64, three as f64 / n as f64);
    println!("good: {:?}", scores.iter().map(|s| (s * 100.0).round() / 100.0).collect::<Vec<_>>());
    let mut off: Vec<(f64, String, String)> = vec![];
    for q in include_str!("off_topic.txt").lines() {
        if let Some(a) = bench.ask(q).await.first() { println!("OFF {:.3} {q} -> {} {}", a.score, a.passage.slug, a.why) }
    }
    let mut ins: Vec<(f64, String, String, String)> = vec![];
    for line in include_str!("../../../demo/nlu/train.jsonl").lines().chain(include_str!("../../../demo/nlu/test.jsonl").lines()) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let (q, intent) = (row["text"].as_str().unwrap(), row["intent"].as_str().unwrap());
        let found = bench.ask(q).await;
        let top = found.first().map_or((0.0, "-".to_owned()), |a| (a.score, format!("{} {}", a.passage.slug, a.why)));
        if intent == "oos" { off.push((top.0, q.to_owned(), top.1)) } else { ins.push((top.0, intent.to_owned(), q.to_owned(), top.1)) }
    }
    off.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("oos answered {} of {}", off.iter().filter(|o| o.0 > 0.0).count(), off.len());
    for o in off.iter().filter(|o| o.0 > 0.0).take(60) { println!("  oos {:.3} {} -> {}", o.0, o.1, o.2) }
    let mut per: std::collections::BTreeMap<String, (usize, usize, f64)> = Default::default();
    for (s, i, ..) in &ins { let e = per.entry(i.clone()).or_default(); e.0 += 1; if *s > 0.0 { e.1 += 1 } e.2 += s }
    for (i, (n, a, s)) in &per { println!("  in {i:22} {n:4} answered {:.2} mean {:.2}", *a as f64 / *n as f64, s / *n as f64) }
    for (k, (s, i, q, t)) in ins.iter().enumerate() { if (*s == 0.0 && k % 3 == 0 || k % 11 == 0) && !"greeting goodbye thanks affirm deny never_mind complaint problem_solved case_status".contains(i.as_str()) { println!("    {i} {s:.2} {q} -> {t}") } }
}
trait L { fn is_lead_or(&self, q: &str) -> bool; }
impl L for switchboard_knowledge::index::Passage { fn is_lead_or(&self, _: &str) -> bool { self.is_lead() } }
