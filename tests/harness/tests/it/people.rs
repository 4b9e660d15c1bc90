//! A person is planted in every store, exported, erased, and looked for in every file and dump.
use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use switchboard::{OWNERS, Stack, StackConfig};
use switchboard_runtime::Role;
use switchboard_testkit::servers::{self, Database, with_database};
use tempfile::TempDir;
use uuid::Uuid;

/// An erasure that is not completed by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody, with words that occur nowhere else.
struct Planted {
    email: String,
    name: String,
    external_id: String,
    words: [String; 3],
}

impl Planted {
    fn new() -> Self {
        let word = |what: &str| format!("{what}{}", &Uuid::new_v4().simple().to_string()[..12]);
        Planted {
            email: format!("{}@planted.example", word("ada")),
            name: word("Lovelace"),
            external_id: word("crm"),
            words: [word("xyzzy"), word("plugh"), word("frotz")],
        }
    }

    fn strings(&self) -> Vec<&str> {
        let words = self.words.iter().map(String::as_str);
        [self.email.as_str(), &self.name, &self.external_id].into_iter().chain(words).collect()
    }

    /// Which of the strings occur in some bytes, as they are or as hexadecimal digits, in which dumps write bytes.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let has = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w.eq_ignore_ascii_case(needle));
        let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
        self.strings().into_iter().filter(|s| has(s.as_bytes()) || has(hex(s).as_bytes())).collect()
    }
}

struct Site {
    stack: Stack,
    http: Client,
}

impl Site {
    async fn start(config: StackConfig) -> Self {
        let config = config.with("edge.rate_limit", "off").with("log.filter", "error");
        let http = Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Site { stack: Stack::start(config).await.expect("starts"), http }
    }

    async fn call(&self, method: &str, token: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.stack.url());
        let mut request = self.http.request(method.parse().expect("a method"), url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    async fn done(&self, token: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", token, path, Some(body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Plants a person wherever the interface lets one, and returns their id.
    async fn plant(&self, person: &Planted) -> (Uuid, String) {
        let admin = self.stack.token(Role::Admin).await.expect("a token");
        let agent = self.stack.token(Role::Agent).await.expect("a token");
        let user = json!({
            "email": person.email, "full_name": person.name, "external_id": person.external_id, "role": "customer",
            "password": "Correct-horse-battery-1",
        });
        let made = self.done(&admin, "/v1/users", user).await;
        let id = Uuid::try_parse(made["id"].as_str().expect("an id")).expect("a UUID");
        let org = self.stack.demo_organization().expect("the demo organization");
        let customer = self.stack.token_for(Role::Customer, org, id).await.expect("a token");
        let [first, second, third] = &person.words;
        let made =
            self.done(&customer, "/v1/conversations", json!({ "channel": "web", "metadata": { "page": first } })).await;
        let path = format!("/v1/conversations/{}", made["id"].as_str().expect("an id"));
        let say =
            async |text: String| self.done(&customer, &format!("{path}/messages"), json!({ "content": text })).await;
        say(format!("Hello, I am {} and my word is {second}", person.name)).await;
        // A case in Salesforce, with an address and with words.
        say(format!("I was charged 49 EUR twice, write to {} about {third}", person.email)).await;
        say("yes".to_owned()).await;
        // A mail that goes out.
        say("I forgot my password".to_owned()).await;
        say(person.email.clone()).await;
        say("yes".to_owned()).await;
        self.done(&agent, &format!("{path}/notes"), json!({ "content": format!("{} says {first}", person.name) }))
            .await;
        self.done(&customer, &format!("{path}/escalate"), json!({ "reason": format!("because of {second}") })).await;
        self.done(&agent, &format!("{path}/assign"), json!({})).await;
        self.done(&agent, &format!("{path}/messages"), json!({ "content": format!("Dear {}", person.name) })).await;
        self.done(&agent, &format!("{path}/resolve"), json!({ "summary": format!("{third} is done") })).await;
        self.done(&customer, &format!("{path}/rating"), json!({ "score": 4, "comment": format!("thanks, {first}") }))
            .await;
        (id, admin)
    }

    async fn erase(&self, admin: &str, user: Uuid) -> Value {
        let path = format!("/v1/users/{user}/erase");
        let (status, begun) = self.call("POST", admin, &path, Some(json!({}))).await;
        assert!(matches!(status, 200 | 202), "{status} {begun}");
        let completed = async {
            loop {
                let (_, erasure) = self.call("GET", admin, &path, None).await;
                if erasure["state"] == "completed" {
                    return erasure;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(PATIENCE, completed).await {
            Ok(erasure) => erasure,
            Err(_) => panic!("not completed: {}", self.call("GET", admin, &path, None).await.1),
        }
    }
}

/// Every file under a folder with the planted strings in it.
fn files_with<'p>(folder: &Path, person: &'p Planted, found: &mut BTreeMap<String, Vec<&'p str>>) {
    for entry in fs::read_dir(folder).expect("reads").flatten() {
        if entry.path().is_dir() {
            files_with(&entry.path(), person, found);
            continue;
        }
        let inside = person.found_in(&fs::read(entry.path()).expect("reads"));
        let named = person.found_in(entry.file_name().as_encoded_bytes());
        if !inside.is_empty() || !named.is_empty() {
            found.insert(entry.path().display().to_string(), [inside, named].concat());
        }
    }
}

/// A dump as an administrator makes it: row security holds everybody else.
fn dump(database: &Database) -> Vec<u8> {
    let bin = servers::server("postgres_bin").expect("beside the server");
    let admin = servers::server("postgres_admin").expect("beside the server");
    let (server, _) = admin.rsplit_once('/').expect("a URL with a database");
    let url = format!("{server}/{}", database.name);
    let dumped = Command::new(Path::new(&bin).join("pg_dump")).arg(url).output().expect("pg_dump runs");
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    dumped.stdout
}

/// All that Redis holds.
async fn cached(url: &str) -> Vec<u8> {
    let client = redis::Client::open(url).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.expect("lists");
    let mut all = Vec::new();
    for key in keys {
        // DUMP gives a value of any type as it would be written to disk.
        let value: Option<Vec<u8>> = redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.expect("reads");
        all.extend([key, value.unwrap_or_default()].concat());
    }
    all
}

/// What an export has to have of a person.
fn exported(export: &Value, person: &Planted) {
    let text = export.to_string();
    for string in person.strings() {
        assert!(text.contains(string), "the export lacks {string}");
    }
    for place in ["identity", "conversation", "salesforce", "notification"] {
        assert!(export[place].is_object(), "{place}: {}", export[place]);
    }
}

fn erased(erasure: &Value, person: &Planted) {
    assert!(person.found_in(erasure.to_string().as_bytes()).is_empty(), "{erasure}");
    let removed = &erasure["receipt"]["removed"];
    for place in ["conversation", "salesforce", "notification", "identity"] {
        assert!(removed[place].as_u64().is_some_and(|n| n > 0), "{place}: {erasure}");
    }
    assert!(erasure["receipt"]["sha256"].as_str().is_some_and(|h| h.len() == 64));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_embedded_stores_a_person_is_sealed_exported_and_erased() {
    let folder = TempDir::new().expect("a folder");
    let (person, other) = (Planted::new(), Planted::new());
    let site = Site::start(StackConfig::new(folder.path())).await;
    let (user, admin) = site.plant(&person).await;
    let (kept, _) = site.plant(&other).await;
    let mut found = BTreeMap::new();
    files_with(folder.path(), &person, &mut found);
    // What went out as a mail lies there as a mail; all else is sealed.
    found.retain(|file, _| !file.contains("outbox"));
    assert!(found.is_empty(), "in the clear: {found:?}");
    exported(&site.done(&admin, &format!("/v1/users/{user}/export"), json!({})).await, &person);
    erased(&site.erase(&admin, user).await, &person);
    let (status, _) = site.call("POST", &admin, &format!("/v1/users/{user}/export"), Some(json!({}))).await;
    assert_eq!(status, 404, "nobody is left to export");
    exported(&site.done(&admin, &format!("/v1/users/{kept}/export"), json!({})).await, &other);
    site.stack.stop().await;
    let mut found = BTreeMap::new();
    files_with(folder.path(), &person, &mut found);
    assert!(found.is_empty(), "after the erasure: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_servers_a_person_is_sealed_exported_and_erased() {
    let Some(redis) = servers::server("redis") else { return };
    with_database(async |database| {
        for owner in OWNERS {
            owner.apply(&database.ledger()).await.expect("migrates");
        }
        let folder = TempDir::new().expect("a folder");
        let person = Planted::new();
        let config = StackConfig::new(folder.path())
            .with("stores.ledger", database.url.clone())
            .with("stores.ledger_connections", "40")
            .with("stores.master_keys", servers::master_keys().expose())
            .with("stores.cache", redis.clone());
        let site = Site::start(config).await;
        let (user, admin) = site.plant(&person).await;
        for (what, bytes) in [("PostgreSQL", dump(&database)), ("Redis", cached(&redis).await)] {
            assert!(person.found_in(&bytes).is_empty(), "in the clear in {what}: {:?}", person.found_in(&bytes));
        }
        exported(&site.done(&admin, &format!("/v1/users/{user}/export"), json!({})).await, &person);
        erased(&site.erase(&admin, user).await, &person);
        site.stack.stop().await;
        let mut found = BTreeMap::new();
        files_with(folder.path(), &person, &mut found);
        assert!(found.is_empty(), "after the erasure: {found:?}");
        for (what, bytes) in [("PostgreSQL", dump(&database)), ("Redis", cached(&redis).await)] {
            assert!(person.found_in(&bytes).is_empty(), "after the erasure, in {what}: {:?}", person.found_in(&bytes));
        }
    })
    .await;
}
