use switchboard_orchestrator::nlu::*;
#[test]
fn d() {
    let m =
        IntentModel::train(&parse_examples(&std::fs::read_to_string("../../demo/nlu/train.jsonl").unwrap()).unwrap());
    for s in [
        "sandbox of sandboxes",
        "sandbox",
        "do you have a sandbox",
        "dark mode",
        "webhook signature",
        "audit log",
        "sso saml okta setup",
        "delete workspace",
        " ?!... ",
    ] {
        println!("{s}: {:?}", m.predict(s));
    }
}
