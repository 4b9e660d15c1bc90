mod common;
use common::Bench;
#[tokio::test]
async fn tune() {
    let bench = Bench::demo().await;
    let held = "how many rows can my spreadsheet have|import-limits
can I try the product before paying|free-trial
we want to move from monthly to annual billing|change-your-plan
who can see the audit history|audit-log
our card expired, how do I enter the new one|update-your-payment-method
somebody from my team left, how do I take away their access|remove-a-member
send me a copy of last month's invoice|see-and-download-invoices
what happens to my data when I cancel|cancel-your-subscription
is there a way to get everything out of my workspace|full-account-export
is two factor available with text messages|set-up-two-factor-authentication
the link to reset my password expired|reset-your-password
how fast does support reply|contact-support
difference between owner and admin|member-roles
does brightfold have an uptime guarantee|status-and-service-levels
I need to check that a webhook really came from you|verify-webhook-signatures
what does 403 forbidden mean|error-403
umlauts are garbled after the import|file-encoding
set the import key column|handle-duplicates-on-import
unsubscribe from notification emails|notification-settings
I typed my password wrong too many times|unlock-a-locked-account
can we pay in dollars|vat-tax-id-and-currency
sync google sheets|connect-google-sheets
my scanner package has not arrived|brightfold-scan-order-status
how do I get a pdf of a dashboard|export-a-report
next page of results in the api|api-pagination";
    let off = "how do I bake sourdough bread\nwhat is the population of France\nbest movies of 2024\nhow do I fix my car engine\nwho painted the mona lisa\nwhat should I wear to a wedding\nis it safe to eat raw eggs\nflights to tokyo in june\nhow to lose weight fast\nsing me a song\nblorp zint quafl\nwhat is quantum entanglement\nhow do I change a light bulb\nhow do I cancel netflix\nwhat's the score of the lakers game\ncan dogs eat chocolate";
    let (mut n, mut one, mut three) = (0, 0, 0);
    for l in held.lines() {
        let (q, want) = l.split_once('|').unwrap();
        let f = bench.ask(q).await;
        let at = f.iter().position(|a| a.passage.slug == want);
        n += 1;
        one += usize::from(at == Some(0));
        three += usize::from(at.is_some_and(|a| a < 3));
        println!(
            "{} {q} [{want}] -> {:?}",
            if at == Some(0) { "ok  " } else { "MISS" },
            f.iter().take(3).map(|a| format!("{:.2} {}", a.score, a.passage.slug)).collect::<Vec<_>>()
        );
        if let Some(a) = f.first() {
            println!("        “{}”", a.quote.replace('\n', " / "));
        }
    }
    println!("held-out top1 {one}/{n} top3 {three}/{n}");
    for q in off.lines() {
        let f = bench.ask(q).await;
        println!("off {q} -> {:?}", f.iter().map(|a| format!("{:.2} {}", a.score, a.passage.slug)).collect::<Vec<_>>())
    }
    let t = tokio::time::Instant::now();
    for _ in 0..10 {
        for l in held.lines() {
            bench.ask(l.split_once('|').unwrap().0).await;
        }
    }
    println!("dev search {:?} each", t.elapsed() / 250);
    let t = tokio::time::Instant::now();
    for i in 0..20 {
        let mut z = common::zebra();
        z.slug = format!("z{i}");
        bench.knowledge.create(common::ORG, common::ADMIN, None, z).await.unwrap();
    }
    println!("dev create {:?} each", t.elapsed() / 20);
}
