//! REST: shapes of answers and of refusals, idempotency, limits, headers, the document.
use jiff::SignedDuration;
use serde_json::{Value, json};
use switchboard_edge::config::{Config, Rate};
use switchboard_runtime::{Clock, Condition, Role};

use crate::support::{problem, start, start_at, start_beside};

fn unlimited() -> Config {
    Config { rate: None, ..Config::default() }
}

#[tokio::test]
async fn a_conversation_is_created_and_answers() {
    let edge = start(unlimited()).await;
    let customer = edge.client(Role::Customer);
    let body = json!({ "user_id": customer.user, "channel": "web", "initial_message": "Hello", "metadata": { "plan": "pro", "n": 2 } });
    let response = customer.post("/v1/conversations", body).await;
    assert_eq!(response.status(), 201);
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let made: Value = response.json().await.expect("JSON");
    assert_eq!((&made["status"], &made["owner"], &made["channel"]), (&json!("active"), &json!("ai"), &json!("web")));
    assert_eq!(made["metadata"], json!({ "plan": "pro", "n": 2 }));
    assert_eq!(made["reply"]["response"], "You said: Hello");
    assert_eq!(location, format!("/v1/conversations/{}", made["id"].as_str().expect("id")));
    assert!(made["created_at"].as_str().is_some_and(|t| t.ends_with('Z') && t.contains('.')));

    let id = made["id"].as_str().expect("id");
    let reply = customer.say(id, "a \"quoted\" <b>SELECT</b> & DROP").await;
    let keys = "message_id user_message_id conversation_id seq response intent confidence sentiment entities suggested_actions \
                citations requires_escalation escalation status owner rung language";
    for key in keys.split_whitespace() {
        assert!(reply.get(key).is_some(), "{key}");
    }
    assert_eq!(
        (&reply["rung"], &reply["escalation"], &reply["sentiment"]),
        (&json!("extract"), &Value::Null, &Value::Null)
    );

    let page: Value =
        customer.get(&format!("/v1/conversations/{id}/messages?limit=3")).await.json().await.expect("JSON");
    assert_eq!(page["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(page["items"][2]["content"], "a \"quoted\" <b>SELECT</b> & DROP");
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let rest: Value = customer
        .get(&format!("/v1/conversations/{id}/messages?limit=3&cursor={cursor}"))
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(1), &Value::Null));

    let detail = customer.get(&format!("/v1/conversations/{id}")).await;
    let tag = detail.headers()["etag"].to_str().expect("text").to_owned();
    let detail: Value = detail.json().await.expect("JSON");
    assert_eq!(tag, format!("\"{}\"", detail["seq"]));
    assert_eq!(detail["messages"].as_array().map(Vec::len), Some(4));

    let patch = async |tag: Option<&str>| {
        let request = customer.request("PATCH", &format!("/v1/conversations/{id}/context"));
        let request = request.header("content-type", "application/merge-patch+json").body(r#"{"plan":"pro"}"#);
        let request = if let Some(tag) = tag { request.header("if-match", tag) } else { request };
        request.send().await.expect("an answer")
    };
    assert_eq!(problem(patch(None).await, 428).await["reason"], "PRECONDITION_REQUIRED");
    assert_eq!(problem(patch(Some("\"stale\"")).await, 412).await["reason"], "STALE");
    assert_eq!(problem(patch(Some("\"1\"")).await, 412).await["reason"], "STALE");
    let patched = patch(Some(&tag)).await;
    assert_eq!(patched.status(), 200);
    assert_ne!(patched.headers()["etag"], tag.as_str());
    assert_eq!(patched.json::<Value>().await.expect("JSON"), json!({ "plan": "pro" }));
}

#[tokio::test]
async fn every_bad_input_is_a_problem_that_names_the_field() {
    let edge = start(unlimited()).await;
    let (customer, agent) = (edge.client(Role::Customer), edge.client(Role::Agent));
    let id = customer.create().await;
    let messages = format!("/v1/conversations/{id}/messages");
    let bad = [
        ("/v1/conversations", json!({ "channel": "fax" }), "channel"),
        ("/v1/conversations", json!({}), "channel"),
        ("/v1/conversations", json!({ "channel": "web", "initial_message": "" }), "initial_message"),
        ("/v1/conversations", json!({ "channel": "web", "initial_message": "x".repeat(5001) }), "initial_message"),
        ("/v1/conversations", json!({ "channel": "web", "colour": "red" }), "colour"),
        (&messages, json!({ "content": "" }), "content"),
        (&messages, json!({ "content": "x".repeat(5001) }), "content"),
        (&messages, json!({ "content": 7 }), "content"),
        (&messages, json!({ "content": "a\u{0}b" }), "content"),
        (&messages, json!({ "content": "x", "content_type": "sound" }), "content_type"),
        (&messages, json!({ "content": "x", "client_message_id": "i".repeat(256) }), "client_message_id"),
        (
            &messages,
            json!({ "content": "x", "attachments": [{ "type": "text", "content": "y" }, { "name": "a" }] }),
            "attachments[1].media_type",
        ),
        (
            &messages,
            json!({ "content": "x", "attachments": [{ "type": "video", "content": "y" }] }),
            "attachments[0].type",
        ),
        (&format!("/v1/conversations/{id}/rating"), json!({ "score": 6 }), "score"),
        (&format!("/v1/conversations/{id}/escalate"), json!({ "priority": "now" }), "priority"),
        ("/auth/token", json!({ "username": "a" }), "password"),
        ("/auth/token", json!({ "grant_type": "client_credentials" }), "grant_type"),
    ];
    for (path, body, field) in bad {
        let problem = problem(customer.post(path, body.clone()).await, 400).await;
        assert_eq!(problem["errors"][0]["field"], field, "{path} {body}: {problem}");
        assert_eq!(problem["instance"], path);
    }
    let unknown = problem(customer.post("/v1/conversations", json!({ "channel": "fax" })).await, 400).await;
    assert!(unknown["detail"].as_str().is_some_and(|d| d.starts_with("Invalid channel")));

    let raw = async |content_type: &str, body: String| {
        let request = customer.request("POST", "/v1/conversations").header("content-type", content_type).body(body);
        request.send().await.expect("an answer")
    };
    problem(raw("application/json", "{".into()).await, 400).await;
    problem(raw("application/json", r#"{"channel":"\ud800"}"#.into()).await, 400).await;
    let deep = format!("{{\"metadata\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    problem(raw("application/json", deep).await, 400).await;
    problem(raw("application/x-www-form-urlencoded", "x=1".into()).await, 415).await;
    problem(raw("application/json", format!("\"{}\"", "x".repeat(1024 * 1024))).await, 413).await;

    for query in ["limit=0", "limit=201", "limit=x", "cursor=%25%25", "after_seq=-1"] {
        problem(customer.get(&format!("{messages}?{query}")).await, 400).await;
    }
    problem(customer.get("/v1/conversations/not-a-uuid").await, 400).await;
    problem(customer.get(&format!("/v1/conversations/{}", uuid::Uuid::now_v7())).await, 404).await;
    problem(customer.get("/v1/nothing").await, 404).await;
    let wrong = customer.request("DELETE", "/v1/conversations").send().await.expect("an answer");
    let allow = wrong.headers()["allow"].to_str().expect("text").to_owned();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    problem(wrong, 405).await;
    problem(customer.get("/v1/queue").await, 403).await;
    assert_eq!(agent.get("/v1/queue").await.status(), 200);
    let other = json!({ "channel": "web", "user_id": uuid::Uuid::now_v7() });
    problem(customer.post("/v1/conversations", other.clone()).await, 403).await;
    problem(customer.post("/v1/conversations", json!({ "channel": "web", "user_id": "somebody" })).await, 403).await;
    assert_eq!(agent.post("/v1/conversations", other).await.status(), 201);
}

#[tokio::test]
async fn without_a_good_token_nobody_gets_in() {
    let edge = start(unlimited()).await;
    let customer = edge.client(Role::Customer);
    let cut = format!("{}AAAA", &customer.token[..customer.token.len() - 4]);
    for header in [None, Some("Bearer x.y.z".to_owned()), Some(format!("Bearer {cut}")), Some("Basic YTpi".to_owned())]
    {
        let mut request = edge.http.get(edge.url("/v1/conversations"));
        if let Some(value) = &header {
            request = request.header("authorization", value);
        }
        let response = request.send().await.expect("an answer");
        assert!(response.headers().contains_key("www-authenticate"), "{header:?}");
        assert_eq!(problem(response, 401).await["reason"], "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn a_key_gives_one_answer() {
    let edge = start(unlimited()).await;
    let customer = edge.client(Role::Customer);
    let post = async |who: &crate::support::Client, key: &str, channel: &str| {
        let request = who.request("POST", "/v1/conversations").header("idempotency-key", key);
        request.json(&json!({ "channel": channel })).send().await.expect("an answer")
    };
    let first = post(&customer, "k", "web").await;
    let location = first.headers()["location"].clone();
    let (status, first) = (first.status(), first.json::<Value>().await.expect("JSON"));
    let again = post(&customer, "k", "web").await;
    assert_eq!((again.status(), &again.headers()["location"]), (status, &location));
    assert_eq!(again.json::<Value>().await.expect("JSON"), first);
    assert_eq!(problem(post(&customer, "k", "api").await, 422).await["reason"], "IDEMPOTENCY_KEY_REUSED");
    problem(post(&customer, &"k".repeat(256), "web").await, 400).await;
    // Somebody else's key is another key, even if it looks the same.
    let other: Value = post(&edge.client(Role::Customer), "k", "web").await.json().await.expect("JSON");
    assert_ne!(other["id"], first["id"]);
    // The key is the message's id at the owning service.
    let id = first["id"].as_str().expect("id");
    let say = async |content: &str| {
        let request =
            customer.request("POST", &format!("/v1/conversations/{id}/messages")).header("idempotency-key", "m");
        request.json(&json!({ "content": content })).send().await.expect("an answer")
    };
    let one: Value = say("Hello").await.json().await.expect("JSON");
    let direct = json!({ "content": "Hello", "client_message_id": "m" });
    let two: Value =
        customer.post(&format!("/v1/conversations/{id}/messages"), direct).await.json().await.expect("JSON");
    assert_eq!(one["message_id"], two["message_id"]);
}

#[tokio::test]
async fn the_rate_is_limited_per_user_and_says_so() {
    let clock = Clock::manual("2030-01-01T00:00:00Z".parse().expect("a time"));
    let rate = Some(Rate { count: 3, span: std::time::Duration::from_secs(60) });
    let edge = start_at(Config { rate, ..Config::default() }, clock.clone()).await;
    let customer = edge.client(Role::Customer);
    for left in ["2", "1", "0"] {
        let response = customer.get("/v1/conversations/x").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["ratelimit-remaining"]),
            (400, &left.parse().expect("a value"))
        );
        assert_eq!(response.headers()["ratelimit-limit"], "3");
        assert_eq!(response.headers()["ratelimit-policy"], "3;w=60");
    }
    let refused = customer.get("/v1/conversations/x").await;
    let wait: i64 = refused.headers()["retry-after"].to_str().expect("text").parse().expect("a number");
    assert_eq!(problem(refused, 429).await["reason"], "RATE_LIMITED");
    assert_eq!(edge.client(Role::Customer).get("/v1/conversations/x").await.status(), 400);
    clock.advance(SignedDuration::from_secs(wait));
    assert_eq!(customer.get("/v1/conversations/x").await.status(), 400);
    // Pages and health are not counted.
    for _ in 0..5 {
        assert_eq!(edge.http.get(edge.url("/chat")).send().await.expect("an answer").status(), 200);
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers() {
    let edge = start(Config { widget_origins: vec!["https://shop.example".into()], ..unlimited() }).await;
    let customer = edge.client(Role::Customer);
    let id = customer.create().await;
    let paths = [
        "/",
        "/docs",
        "/assets/chat.css",
        "/assets/none.css",
        "/health/live",
        "/openapi.json",
        "/v1/nothing",
        "/ws",
        "/v1/queue",
    ];
    let paths = paths
        .map(str::to_owned)
        .into_iter()
        .chain([format!("/v1/conversations/{id}"), format!("/v1/conversations/{id}/events")]);
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    for path in paths {
        let request = http.get(edge.url(&path)).bearer_auth(&customer.token).header("x-request-id", "abc-123");
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let response = request.header("traceparent", trace).send().await.expect("an answer");
        let header =
            |name: &str| response.headers().get(name).map(|v| v.to_str().expect("text")).unwrap_or_default().to_owned();
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("referrer-policy"), "strict-origin-when-cross-origin");
        assert_eq!(header("strict-transport-security"), "max-age=31536000; includeSubDomains");
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'self'")
                && policy.contains("frame-ancestors 'none'")
                && !policy.contains("unsafe")
        );
        assert_eq!(header("x-request-id"), "abc-123");
        assert!(header("traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    }
    let chat = http.get(edge.url("/chat")).send().await.expect("an answer");
    let policy = chat.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(
        policy.contains("frame-ancestors 'self' https://shop.example")
            && !chat.headers().contains_key("x-frame-options")
    );
    let tag = chat.headers()["etag"].clone();
    let again = http.get(edge.url("/chat")).header("if-none-match", tag).send().await.expect("an answer");
    assert_eq!(again.status(), 304);
}

#[tokio::test]
async fn only_configured_origins_may_call_from_a_browser() {
    let edge = start(Config { cors_origins: vec!["https://shop.example".into()], ..unlimited() }).await;
    let preflight = async |origin: &str| {
        let request =
            edge.http.request(reqwest::Method::OPTIONS, edge.url("/v1/conversations")).header("origin", origin);
        request.header("access-control-request-method", "POST").send().await.expect("an answer")
    };
    let allowed = preflight("https://shop.example").await;
    assert_eq!(
        (allowed.status().as_u16(), &allowed.headers()["access-control-allow-origin"]),
        (204, &"https://shop.example".parse().expect("a value"))
    );
    let refused = preflight("https://evil.example").await;
    assert!(!refused.headers().contains_key("access-control-allow-origin"));
    problem(refused, 405).await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_503_and_health_says_which() {
    let edge = start(unlimited()).await;
    let response = edge.client(Role::Admin).get("/v1/knowledge").await;
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(problem(response, 503).await["reason"], "UNAVAILABLE");
    let health = edge.http.get(edge.url("/health")).send().await.expect("an answer");
    assert_eq!(health.status(), 200);
    let health: Value = health.json().await.expect("JSON");
    assert_eq!((&health["status"], &health["services"]["conversation"]), (&json!("degraded"), &json!("healthy")));
    assert_eq!(health["services"]["knowledge"], "unhealthy");
    assert_eq!(health["details"]["knowledge"], "not reachable");
    assert_eq!(health["details"].get("conversation"), None);
    assert_eq!(edge.http.get(edge.url("/health/ready")).send().await.expect("an answer").status(), 503);
    let keys: Value =
        edge.http.get(edge.url("/.well-known/jwks.json")).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1));
    let metrics = edge.http.get(edge.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    assert!(metrics.contains("GET /v1/knowledge") && metrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn health_says_what_kind_of_trouble_a_service_has_and_names_no_host() {
    let (reporter, condition) = Condition::new("PostgreSQL at db-7.internal:5432/x cannot be reached (refused)");
    let edge = start_beside(unlimited(), Clock::system(), condition).await;
    let response = edge.http.get(edge.url("/v1/health")).send().await.expect("an answer");
    assert_eq!(response.status(), 503);
    let text = response.text().await.expect("text");
    assert!(!text.contains("db-7"), "{text}");
    let health: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&health["status"], &health["services"]["conversation"]), (&json!("unhealthy"), &json!("unhealthy")));
    assert_eq!(health["details"]["conversation"], "store: not reachable");
    // What was found holds for a second; then it is asked again.
    reporter.well();
    let well = async {
        while edge.http.get(edge.url("/health")).send().await.expect("an answer").status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), well).await.expect("recovers");
}

#[tokio::test]
async fn the_document_has_every_route_and_every_route_its_errors() {
    let edge = start(unlimited()).await;
    let document: Value =
        edge.http.get(edge.url("/openapi.json")).send().await.expect("an answer").json().await.expect("JSON");
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")));
    let mut ids = vec![];
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            ids.push(operation["operationId"].as_str().expect("an operationId").to_owned());
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|s| s.starts_with(['4', '5'])), "{method} {path}");
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
            // A documented route answers, if only with a refusal.
            let real = path
                .split('/')
                .map(|part| if part.starts_with('{') { "0190a0a0-0000-7000-8000-000000000000" } else { part });
            let url = edge.url(&real.collect::<Vec<_>>().join("/"));
            let response = edge
                .http
                .request(method.to_uppercase().parse().expect("a method"), url)
                .send()
                .await
                .expect("an answer");
            let text = response.text().await.expect("text");
            assert!(
                !text.contains("METHOD_NOT_ALLOWED") && (!text.contains("ROUTE_NOT_FOUND") || path == "/assets/{name}"),
                "{method} {path}: {text}"
            );
        }
    }
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    for id in ["createConversation", "sendMessage", "getConversation", "healthCheck"] {
        assert!(ids.iter().any(|i| i == id), "{id}");
    }
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for name in ["Conversation", "ConversationDetail", "MessageResponse", "Action", "Attachment", "Problem"] {
        assert!(schemas.contains_key(name), "{name}");
    }
    let channels = json!(["web", "mobile", "email", "slack", "api", "phone"]);
    assert_eq!(document.pointer("/components/schemas/NewConversation/properties/channel/enum"), Some(&channels));
    assert_eq!(document.pointer("/components/schemas/NewMessage/properties/content_type/enum/5"), Some(&Value::Null));
    // Every reference leads somewhere.
    let text = document.to_string();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().expect("a pointer");
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let socket: Value =
        edge.http.get(edge.url("/asyncapi.json")).send().await.expect("an answer").json().await.expect("JSON");
    assert!(socket["asyncapi"].as_str().is_some_and(|v| v.starts_with("3.")));
}

#[tokio::test]
async fn server_sent_events_resume_and_a_reply_streams() {
    let edge = start(unlimited()).await;
    let customer = edge.client(Role::Customer);
    let id = customer.create().await;
    customer.say(&id, "one").await;
    customer.say(&id, "two").await;
    let request = customer.request("GET", &format!("/v1/conversations/{id}/events")).header("last-event-id", "1");
    let mut response = request.send().await.expect("an answer");
    assert!(response.headers()["content-type"].to_str().is_ok_and(|t| t.starts_with("text/event-stream")));
    let mut text = String::new();
    while text.matches("\nid: ").count() < 3 {
        text.push_str(&String::from_utf8_lossy(&response.chunk().await.expect("reads").expect("goes on")));
    }
    let ids: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("id: ")).collect();
    assert_eq!(ids, ["2", "3", "4"]);
    assert!(text.contains("retry: 2000") && text.contains("event: message_received") && text.contains("\"done\":true"));
    problem(
        customer
            .request("GET", &format!("/v1/conversations/{id}/events"))
            .header("last-event-id", "x")
            .send()
            .await
            .expect("an answer"),
        400,
    )
    .await;
    problem(edge.client(Role::Customer).get(&format!("/v1/conversations/{id}/events")).await, 404).await;

    let stream = async |body: Value| {
        let request =
            customer.request("POST", &format!("/v1/conversations/{id}/messages")).header("accept", "text/event-stream");
        request.json(&body).send().await.expect("an answer")
    };
    let body = json!({ "content": "three", "client_message_id": "c" });
    let first = stream(body.clone()).await.text().await.expect("text");
    let events: Vec<_> = first.lines().filter_map(|l| l.strip_prefix("event: ")).collect();
    assert_eq!(events, ["message_received", "ai_response"]);
    assert!(first.contains("You said: three"));
    // A retry gets the same events.
    let again = stream(body).await.text().await.expect("text");
    assert_eq!(again, first);
    problem(stream(json!({ "content": "other", "client_message_id": "c" })).await, 409).await;
}

#[tokio::test]
async fn what_is_nested_too_deeply_is_named() {
    let edge = start(unlimited()).await;
    let customer = edge.client(Role::Customer);
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
    let create =
        async |metadata| customer.post("/v1/conversations", json!({ "channel": "web", "metadata": metadata })).await;
    let refused = problem(create(nested(17)).await, 400).await;
    assert_eq!(refused["errors"][0]["field"], "metadata");
    let made = create(nested(16)).await;
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.expect("JSON");
    assert_eq!(made["metadata"], nested(16));
    let patch = async |value| {
        let path = format!("/v1/conversations/{}/context", made["id"].as_str().expect("an id"));
        let request = customer.request("PATCH", &path).header("if-match", "*");
        request.json(&json!({ "plan": value })).send().await.expect("an answer")
    };
    assert_eq!(problem(patch(nested(40)).await, 400).await["errors"][0]["field"], "plan");
    assert_eq!(patch(nested(16)).await.status(), 200);
}

#[tokio::test]
async fn pages_ask_for_nothing_that_is_not_there() {
    let edge = start(unlimited()).await;
    let get = async |path: &str| edge.http.get(edge.url(path)).send().await.expect("an answer");
    assert_eq!(get("/favicon.ico").await.status(), 204);
    for page in ["/chat", "/docs", "/reset"] {
        let html = get(page).await.text().await.expect("text");
        for link in html.split("=\"/").skip(1) {
            let link = format!("/{}", link.split('"').next().expect("an end"));
            assert!(get(&link).await.status().is_success(), "{page}: {link}");
        }
        assert!(html.contains("/assets/icon.svg"), "{page}");
    }
}
