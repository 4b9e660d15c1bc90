//! Plays one scenario.
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use switchboard_runtime::{Clock, Role};
use switchboard_salesforce::org::{CaseKey, Org as _};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Line, check,
    check::Wrong,
    ground::Ground,
    scenario::{Deed, Salesforce, Scenario, Turn, What, Who},
    tab::{PATIENCE, Tab},
};

/// Longer than any turn may take: a server that has not answered by then never will.
const ANSWER: Duration = Duration::from_secs(30);
/// Over a socket nothing says that there will be no reply; one that comes at all comes well before this.
const SILENCE: Duration = Duration::from_millis(500);
/// Between two looks at something that is done beside the turn, such as the case of a hand-off.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Player<'a> {
    ground: &'a mut Ground,
    http: Client,
    customer: String,
    agent: Option<String>,
    conversation: String,
    /// The customer's own socket, if that is how they write.
    own: Option<Tab>,
    tabs: Vec<Tab>,
    /// Text and client message id of the last message, and the answer to it.
    last: Option<(String, String, Value)>,
    /// Number of the case that an action made.
    made: Option<String>,
}

/// Plays a scenario and names what differs.
pub(crate) async fn play(scenario: &Scenario, ground: &mut Ground, http: &Client, line: Line) -> Vec<String> {
    match Player::begin(scenario, ground, http.clone(), line).await {
        Ok(mut player) => player.run(scenario).await,
        Err(why) => vec![why],
    }
}

impl<'a> Player<'a> {
    async fn begin(scenario: &Scenario, ground: &'a mut Ground, http: Client, line: Line) -> Result<Self, String> {
        let url = ground.url.clone();
        let customer = ground.token(Role::Customer, None).await?;
        let mut player = Player {
            ground,
            http,
            customer,
            agent: None,
            conversation: String::new(),
            own: None,
            tabs: vec![],
            last: None,
            made: None,
        };
        if !scenario.setup.articles.is_empty() {
            let admin = player.ground.token(Role::Admin, None).await?;
            for article in &scenario.setup.articles {
                player.accepted(&admin, Method::POST, "/v1/knowledge", &Value::from(article.clone())).await?;
            }
        }
        let mut ask = json!({ "channel": "web" });
        if let Some(language) = &scenario.language {
            ask["language"] = language.as_str().into();
        }
        if line == Line::Ws && scenario.user.is_none() && scenario.language.is_none() {
            ask["acks"] = true.into();
            ask["deltas"] = false.into();
            let tab = Tab::open("the customer's socket", &url, &player.customer, ask).await?;
            player.conversation.clone_from(&tab.conversation);
            player.own = Some(tab);
        } else {
            let opener = match &scenario.user {
                Some(user) => {
                    ask["user_id"] = user.as_str().into();
                    player.agent().await?
                }
                None => player.customer.clone(),
            };
            let made = player.accepted(&opener, Method::POST, "/v1/conversations", &ask).await?;
            made["id"].as_str().unwrap_or_default().clone_into(&mut player.conversation);
            if scenario.user.is_some() {
                let id =
                    |name: &str| made[name].as_str().and_then(|t| Uuid::try_parse(t).ok()).ok_or(format!("no {name}"));
                let user = (id("organization_id")?, id("user_id")?);
                player.customer = player.ground.token(Role::Customer, Some(user)).await?;
            }
            if line == Line::Ws {
                player.own = Some(player.tab("the customer's socket").await?);
            }
        }
        let reconnects = scenario.turns.iter().any(|t| t.reconnect || t.restart);
        let watchers = if reconnects && line == Line::Rest { scenario.tabs.max(1) } else { scenario.tabs };
        for n in 1..=watchers {
            let tab = player.tab(&format!("tab {n}")).await?;
            player.tabs.push(tab);
        }
        Ok(player)
    }

    async fn tab(&self, name: &str) -> Result<Tab, String> {
        let connect = json!({ "conversation_id": self.conversation, "acks": true, "deltas": false });
        Tab::open(name, &self.ground.url, &self.customer, connect).await
    }

    async fn agent(&mut self) -> Result<String, String> {
        if let Some(token) = &self.agent {
            return Ok(token.clone());
        }
        let token = self.ground.token(Role::Agent, None).await?;
        Ok(self.agent.insert(token).clone())
    }

    async fn run(&mut self, scenario: &Scenario) -> Vec<String> {
        let mut wrong = Vec::new();
        for (index, turn) in scenario.turns.iter().enumerate() {
            let found = self.turn(turn).await.unwrap_or_else(|why| vec![why]);
            let named = match &turn.what {
                What::Say(text) => format!("turn {} ({:?})", index + 1, shortened(text)),
                What::Again => format!("turn {} (the same again)", index + 1),
                What::Do(deed, _) => format!("turn {} ({})", index + 1, deed.route()),
            };
            wrong.extend(found.into_iter().map(|w| format!("{named}: {w}")));
            if !wrong.is_empty() {
                // What comes after a wrong turn means nothing.
                return wrong;
            }
        }
        self.end(scenario).await.unwrap_or_else(|why| vec![why])
    }

    async fn turn(&mut self, turn: &Turn) -> Result<Vec<String>, String> {
        let url = self.ground.url.clone();
        if turn.restart || turn.reconnect {
            self.tabs.iter_mut().chain(&mut self.own).for_each(Tab::cut);
        }
        if turn.restart {
            self.ground.restart().await?;
        }
        if (turn.restart || turn.reconnect)
            && let Some(own) = &mut self.own
        {
            own.reconnect(&url).await?;
        }
        let started = Instant::now();
        let body = match &turn.what {
            What::Say(text) => self.say(turn, text, Uuid::new_v4().to_string()).await?,
            What::Again => self.again(turn).await?,
            What::Do(deed, with) => self.act(turn.who, *deed, &Value::from(with.clone())).await?,
        };
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut wrong = check::turn(&turn.expect, &body, elapsed);
        if turn.restart || turn.reconnect {
            for tab in &mut self.tabs {
                tab.reconnect(&url).await?;
            }
        }
        if let Some(expect) = &turn.expect.escalation {
            // The case is made beside the turn; its number follows.
            let found = self.look(|detail| {
                let escalation = detail["escalation"].clone();
                let ready = !expect.case_number || escalation["case_number"].as_str().is_some_and(|n| !n.is_empty());
                (escalation, ready)
            });
            wrong.extend(check::escalation(expect, &found.await?, now()));
        }
        Ok(wrong)
    }

    async fn say(&mut self, turn: &Turn, text: &str, id: String) -> Result<Value, String> {
        if turn.who == Who::Agent {
            let agent = self.agent().await?;
            let path = format!("/v1/conversations/{}/messages", self.conversation);
            return self
                .request(&agent, Method::POST, &path, &json!({ "content": text, "client_message_id": id }))
                .await;
        }
        let body = match &mut self.own {
            None => {
                let path = format!("/v1/conversations/{}/messages", self.conversation);
                self.request(&self.customer, Method::POST, &path, &json!({ "content": text, "client_message_id": id }))
                    .await?
            }
            Some(own) => {
                let grace = if turn.expect.silent { SILENCE } else { ANSWER };
                match own.say(text, &id, grace).await? {
                    Some(frame) => frame.data,
                    None if turn.expect.silent => json!({ "response": null }),
                    None => return Err(format!("no answer in {} s", grace.as_secs())),
                }
            }
        };
        let numbers =
            body["suggested_actions"].as_array().into_iter().flatten().filter(|a| a["action_type"] == "create_case");
        let number = numbers.filter_map(|a| a["result"]["case_number"].as_str()).next_back();
        self.made = number.map(str::to_owned).or(self.made.take());
        self.last = Some((text.to_owned(), id, body.clone()));
        Ok(body)
    }

    async fn again(&mut self, turn: &Turn) -> Result<Value, String> {
        let (text, id, before) = self.last.clone().ok_or("there is no message before")?;
        if let Some(own) = &mut self.own {
            let upto = own.last();
            own.allow_repeats(0..=upto);
        }
        let body = self.say(turn, &text, id).await?;
        for field in ["message_id", "response", "seq"] {
            if body[field] != before[field] {
                return Err(format!("the same message again: {field} was {}, is {}", before[field], body[field]));
            }
        }
        Ok(body)
    }

    async fn act(&mut self, who: Who, deed: Deed, with: &Value) -> Result<Value, String> {
        let token = match who {
            Who::Customer => self.customer.clone(),
            Who::Agent => self.agent().await?,
        };
        let path = format!("/v1/conversations/{}/{}", self.conversation, deed.route());
        self.request(&token, Method::POST, &path, with).await
    }

    async fn end(&mut self, scenario: &Scenario) -> Result<Vec<String>, String> {
        let detail = self.detail().await?;
        let messages = self.messages().await?;
        let mut wrong = check::end(&scenario.finally, &detail, &messages);
        if let Some(expect) = &scenario.finally.salesforce {
            wrong.extend(self.case(expect).await?);
        }
        let newest = self.detail().await?["seq"].as_u64().unwrap_or_default();
        for tab in self.tabs.iter().chain(&self.own) {
            wrong.extend(tab.verdict(newest).await);
        }
        Ok(wrong)
    }

    async fn case(&self, expect: &Salesforce) -> Result<Vec<String>, String> {
        let place = |detail: &Value| {
            let number = detail["salesforce_case"]
                .as_str()
                .or(detail["escalation"]["case_number"].as_str())
                .or(self.made.as_deref());
            let number = number.unwrap_or_default().to_owned();
            (json!({ "number": number, "org": detail["organization_id"] }), !number.is_empty())
        };
        let found = self.look(place).await?;
        let org = found["org"].as_str().and_then(|t| Uuid::try_parse(t).ok()).ok_or("no organization_id")?;
        let number = found["number"].as_str().unwrap_or_default();
        if number.is_empty() {
            return Ok(vec!["finally.salesforce: the conversation has no case".to_owned()]);
        }
        let salesforce = self.ground.salesforce().await?;
        let (case, _) = salesforce.case(org, &CaseKey::Number(number.to_owned())).await.map_err(|e| e.to_string())?;
        let mut wrong = Wrong::default();
        wrong.word("finally.salesforce.status", expect.status.as_ref(), &case.status.name().into());
        wrong.word("finally.salesforce.priority", expect.priority.as_ref(), &case.priority.name().into());
        wrong.word("finally.salesforce.queue", expect.queue.as_ref(), &case.queue.as_str().into());
        wrong.pattern("finally.salesforce.subject", expect.subject_matches.as_ref(), &case.subject);
        Ok(wrong.0)
    }

    /// Looks at the conversation until something is there, or patience ends.
    async fn look(&self, at: impl Fn(&Value) -> (Value, bool)) -> Result<Value, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (found, ready) = at(&self.detail().await?);
            if ready || Instant::now() >= deadline {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn detail(&self) -> Result<Value, String> {
        self.accepted(&self.customer, Method::GET, &format!("/v1/conversations/{}", self.conversation), &Value::Null)
            .await
    }

    async fn messages(&self) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        loop {
            let after = all.last().and_then(|m: &Value| m["seq"].as_u64()).unwrap_or_default();
            let path = format!("/v1/conversations/{}/messages?limit=200&after_seq={after}", self.conversation);
            let page = self.accepted(&self.customer, Method::GET, &path, &Value::Null).await?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            if items.is_empty() {
                return Ok(all);
            }
            all.extend(items);
        }
    }

    /// An answer that has to be a good one.
    async fn accepted(&self, token: &str, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let shown = format!("{method} {path}");
        let answer = self.request(token, method, path, body).await?;
        match answer["reason"].as_str().filter(|_| answer["title"].is_string() && answer["status"].is_u64()) {
            Some(reason) => Err(format!("{shown}: {reason}: {}", answer["detail"].as_str().unwrap_or_default())),
            None => Ok(answer),
        }
    }

    async fn request(&self, token: &str, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let failed = |e: reqwest::Error| format!("{path}: {e}");
        let mut request =
            self.http.request(method, format!("{}{path}", self.ground.url)).bearer_auth(token).timeout(ANSWER);
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let text = response.text().await.map_err(failed)?;
        serde_json::from_str(&text).map_err(|_| format!("{path}: {status} with a body that is not JSON"))
    }
}

fn now() -> Timestamp {
    Clock::system().now()
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
