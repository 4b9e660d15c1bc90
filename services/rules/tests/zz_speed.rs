use switchboard_rules::{
    bundle::{Bundle, Files},
    facts::*,
    flow::FlowState,
};
#[test]
fn speed() {
    let t0 = std::time::Instant::now();
    let b = Bundle::load(&Files::demo()).unwrap();
    eprintln!("load {:?}", t0.elapsed());
    for (i, t) in [
        ("data_import", "how do I import my contacts from a CSV file, it says that the encoding is wrong on line 17"),
        ("talk_to_human", "get me a human – schön"),
        ("cancel_subscription", "cancel my subscription"),
    ] {
        let t = Turn {
            intent: i.into(),
            intent_confidence: 0.95,
            confidence: 0.9,
            text: t.into(),
            language: "en".into(),
            ..Default::default()
        };
        let s = FlowState::default();
        for _ in 0..100 {
            b.decide(&t, &s).unwrap();
        }
        let t0 = std::time::Instant::now();
        for _ in 0..1000 {
            b.decide(&t, &s).unwrap();
        }
        eprintln!("decide {i} {:?}", t0.elapsed() / 1000);
    }
}
