//! Laws 1 to 6, as plain functions over the port: commits, events, repetition, effects, duties, what timers look for.
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use switchboard_conversation::{
    change::Change,
    machine::{Owner, Status},
    model::{ActionStatus, EventKind, Note, Sender, Turn},
    outbox::{Sink, Waiting},
    store::{Committed, NewConversation, Store},
};
use switchboard_runtime::Clock;
use uuid::Uuid;

use super::plant::{change, created, created_for, effect, escalation, later, now, planted, row, say, start};

pub async fn all(store: &dyn Store) {
    what_was_written_is_read(store).await;
    a_stale_write_is_refused_whole(store).await;
    a_turn_that_changed_hands_is_fenced(store).await;
    events_are_numbered_by_one(store).await;
    heads_are_those_of_ones_own(store).await;
    what_leaves_is_in_the_order_of_commits(store).await;
    the_same_key_twice_is_once(store).await;
    a_draft_is_sent_once(store).await;
    conversations_are_paged_by_activity(store).await;
    hand_offs_are_paged_by_priority(store).await;
    citing_answers_are_paged(store).await;
    figures_are_counted(store).await;
    effects_are_claimed_by_one(store).await;
    what_is_completed_stays_completed(store).await;
    timers_find_what_is_due(store).await;
    a_duty_has_one_holder(store).await;
    feeds_are_kept_apart(store).await;
}

async fn heads_are_those_of_ones_own(store: &dyn Store) {
    let (one, foreign) = (created(store).await, created(store).await);
    let two = created_for(store, one.org, Uuid::now_v7()).await;
    for row in [&one, &foreign] {
        assert_eq!(say(store, row, "hello", None).await, Committed::Done);
    }
    let mut heads = store.heads(one.org, &[two.id, foreign.id, one.id, Uuid::now_v7()]).await.expect("reads");
    heads.sort();
    let mut expected = [(one.id, 1), (two.id, 0)];
    expected.sort();
    assert_eq!(heads, expected);
    assert_eq!(store.heads(one.org, &[]).await.expect("reads"), []);
}

async fn what_was_written_is_read(store: &dyn Store) {
    let before = created(store).await;
    assert_eq!(now(store, &before).await, before);
    let text = "a \"quoted\" <b>SELECT</b> & DROP; \u{1f}' 😀";
    assert_eq!(say(store, &before, text, None).await, Committed::Done);
    let messages = store.messages(before.org, before.id, 0, 10).await.expect("reads");
    assert_eq!(messages.iter().map(|m| (m.seq, m.content.as_str())).collect::<Vec<_>>(), [(1, text)]);

    let planted = planted(store, Uuid::now_v7(), Uuid::now_v7(), "plain").await;
    let (org, id) = (planted.row.org, planted.row.id);
    assert_eq!(now(store, &planted.row).await, planted.row);
    let mut reply = planted.reply.clone();
    reply.metadata = Default::default();
    let all = [planted.question.clone(), reply.clone()];
    assert_eq!(store.messages(org, id, 0, 10).await.expect("reads"), all);
    assert_eq!(store.latest_messages(org, id, u64::MAX, 10).await.expect("reads"), all);
    assert_eq!(store.latest_messages(org, id, reply.seq - 1, 1).await.expect("reads"), all[..1]);
    let history = store.history(org, id, u64::MAX, 10).await.expect("reads");
    assert_eq!(history.iter().map(|m| &m.content).collect::<Vec<_>>(), [&planted.question.content, &reply.content]);
    assert!(history.iter().all(|m| m.attachments.is_empty() && m.outcome.is_none()));
    let outcome = store.outcome_of(org, id, planted.question.seq).await.expect("reads");
    assert_eq!(outcome.as_ref(), reply.outcome.as_deref());
    assert_eq!(store.outcome_of(org, id, reply.seq).await.expect("reads"), None);
    let receipt = store.receipt(org, id, reply.id).await.expect("reads").expect("is there");
    assert_eq!(receipt["why"], "plain-receipt");
    assert_eq!(store.receipt(org, id, planted.question.id).await.expect("reads"), None);
    assert_eq!(store.drafts(org, id).await.expect("reads"), [planted.draft]);
    assert_eq!(store.notes(org, id).await.expect("reads"), [planted.note]);
    assert_eq!(store.effects_of(org, id).await.expect("reads"), std::slice::from_ref(&planted.effect));
    assert_eq!(
        store.effects_by_key(org, &[planted.effect.key.clone(), "no".into()]).await.expect("reads"),
        [planted.effect]
    );
    assert_eq!(store.hand_offs(org, id).await.expect("reads"), [planted.hand_off]);
    let found = store.message_by_client_id(org, id, Sender::User, "client-1").await.expect("reads");
    assert_eq!(found, Some(planted.question));
    assert_eq!(store.message_by_client_id(org, id, Sender::HumanAgent, "client-1").await.expect("reads"), None);
    assert_eq!(store.by_case(org, &format!("C-{id}")).await.expect("reads"), Some(id));
    assert_eq!(store.cursor(org, "salesforce").await.expect("reads").as_deref(), Some("42"));
    assert!(store.organizations().await.expect("reads").contains(&org));
}

async fn a_stale_write_is_refused_whole(store: &dyn Store) {
    let before = created(store).await;
    assert_eq!(say(store, &before, "first", None).await, Committed::Done);
    let clock = Clock::manual(start());
    let mut late = Change::on(&before, &clock);
    let message = late.message(Sender::User, Some(before.user), "second");
    late.say(message);
    late.hand_off(escalation("late"));
    late.commit.effects = vec![effect(&before, "late", "late")];
    late.commit.cursor = Some(("late", "1".into()));
    assert_eq!(store.commit(late.commit).await.expect("answers"), Committed::Conflict);
    let stored = now(store, &before).await;
    assert_eq!((stored.seq, &stored.escalation), (1, &None));
    assert_eq!(store.messages(before.org, before.id, 0, 10).await.expect("reads").len(), 1);
    assert!(store.hand_offs(before.org, before.id).await.expect("reads").is_empty());
    assert!(store.effects_of(before.org, before.id).await.expect("reads").is_empty());
    assert_eq!(store.cursor(before.org, "late").await.expect("reads"), None);
    assert_eq!(waiting(store, before.org, before.id).await.iter().map(|w| w.seq).collect::<BTreeSet<_>>().len(), 1);
    let mut other_epoch = stored.clone();
    other_epoch.owner_epoch = 7;
    assert_eq!(say(store, &other_epoch, "third", None).await, Committed::Conflict);
    let mut elsewhere = stored;
    elsewhere.id = Uuid::now_v7();
    assert_eq!(say(store, &elsewhere, "fourth", None).await, Committed::Conflict);
    assert_eq!(store.messages(before.org, before.id, 0, 10).await.expect("reads").len(), 1);
}

async fn a_turn_that_changed_hands_is_fenced(store: &dyn Store) {
    let row = created(store).await;
    let hold = |token| Some(Turn { token, until: later(20) });
    let first = change(store, &row, |change| change.row().turn = hold(Uuid::now_v7())).await;
    change(store, &row, |change| change.row().turn = hold(Uuid::now_v7())).await;
    assert_eq!(say(store, &first, "from the first", None).await, Committed::Conflict);
    assert_eq!(say(store, &row, "from before both", None).await, Committed::Conflict);
}

async fn events_are_numbered_by_one(store: &dyn Store) {
    let first = created(store).await;
    for i in 0..5 {
        change(store, &first, |change| {
            if i % 2 == 0 {
                change.tell("tick");
            }
            let message = change.message(Sender::System, None, "x");
            change.say(message);
        })
        .await;
    }
    let events = store.events(first.org, first.id, 0, 100).await.expect("reads");
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!(events.iter().filter(|e| matches!(e.kind, EventKind::Status(_))).count(), 3);
    let seqs = |events: Vec<switchboard_conversation::model::Event>| events.iter().map(|e| e.seq).collect::<Vec<_>>();
    assert_eq!(seqs(store.events(first.org, first.id, 6, 100).await.expect("reads")), [7, 8]);
    assert_eq!(seqs(store.events(first.org, first.id, 2, 3).await.expect("reads")), [3, 4, 5]);
    assert!(store.events(first.org, first.id, u64::MAX, 3).await.expect("reads").is_empty());
}

/// What waits of one conversation, over all sinks.
async fn waiting(store: &dyn Store, org: Uuid, id: Uuid) -> Vec<Waiting> {
    let mut all = Vec::new();
    for sink in [Sink::Bus, Sink::Sessions, Sink::Outcomes] {
        let found = store.outbox(sink, 10_000).await.expect("reads");
        all.extend(found.into_iter().filter(|w| (w.org, w.conversation) == (org, id)));
    }
    all
}

async fn what_leaves_is_in_the_order_of_commits(store: &dyn Store) {
    let (one, other) = (created(store).await, created(store).await);
    for _ in 0..4 {
        for row in [&one, &other] {
            change(store, row, |change| {
                change.tell("tick");
                change.tell("tock");
            })
            .await;
        }
    }
    let facts = |all: Vec<Waiting>| all.into_iter().filter(|w| w.kind.sink() == Sink::Bus).collect::<Vec<_>>();
    let seqs = |all: &[Waiting]| all.iter().map(|w| w.seq).collect::<Vec<_>>();
    let of_one = facts(waiting(store, one.org, one.id).await);
    assert_eq!(seqs(&of_one), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(of_one.windows(2).all(|w| w[0].position < w[1].position));
    let before = store.backlog(Sink::Bus).await.expect("reads");
    let oldest = before.oldest.expect("something waits");
    assert!(before.rows >= 16 && oldest <= start(), "{before:?}");
    // Only what was handed over is forgotten: not what came before it and was not seen.
    store.outbox_done(&of_one[2..5]).await.expect("forgets");
    store.outbox_done(&[]).await.expect("forgets nothing");
    assert_eq!(seqs(&facts(waiting(store, one.org, one.id).await)), [1, 2, 6, 7, 8]);
    let of_other = facts(waiting(store, other.org, other.id).await);
    assert_eq!(of_other.len(), 8);
    let both: Vec<Waiting> = of_one.into_iter().chain(of_other).collect();
    store.outbox_done(&both).await.expect("forgets those of two organizations");
    assert!(facts(waiting(store, one.org, one.id).await).is_empty());
    assert_eq!(store.backlog(Sink::Bus).await.expect("reads").rows, before.rows - 16);
}

async fn the_same_key_twice_is_once(store: &dyn Store) {
    let before = created(store).await;
    assert_eq!(say(store, &before, "hello", Some("id")).await, Committed::Done);
    let after = now(store, &before).await;
    assert_eq!(say(store, &after, "hello", Some("id")).await, Committed::DuplicateMessage);
    assert_eq!(now(store, &before).await, after, "nothing of it is stored");
    let agents = change(store, &before, |change| {
        let mut message = change.message(Sender::HumanAgent, None, "of an agent");
        message.client_message_id = Some("id".into());
        change.say(message);
    });
    agents.await;

    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    let new = |fingerprint: &str| NewConversation {
        row: row(org, user),
        request_id: Some("r".into()),
        fingerprint: fingerprint.into(),
    };
    let first = new("one");
    assert!(store.create(first.clone()).await.expect("creates").is_none());
    let second = new("two");
    let (earlier, fingerprint) = store.create(second.clone()).await.expect("answers").expect("is there");
    assert_eq!((&earlier, fingerprint.as_str()), (&first.row, "one"));
    assert_eq!(store.load(org, second.row.id).await.expect("reads"), None);
    let others = NewConversation { row: row(org, Uuid::now_v7()), ..new("three") };
    assert!(store.create(others).await.expect("creates").is_none(), "another customer's request is another one");

    let note = |text: &str| Note { id: Uuid::now_v7(), author: user, content: text.into(), created_at: start() };
    let one = store.add_note(before.org, before.id, note("one"), Some("n")).await.expect("adds");
    assert_eq!(store.add_note(before.org, before.id, note("two"), Some("n")).await.expect("answers"), one);
    for text in ["three", "four"] {
        store.add_note(before.org, before.id, note(text), None).await.expect("adds");
    }
    let notes = store.notes(before.org, before.id).await.expect("reads");
    assert_eq!(notes.iter().map(|n| n.content.as_str()).collect::<Vec<_>>(), ["one", "three", "four"]);

    for word in ["first", "second"] {
        change(store, &before, |change| change.commit.effects = vec![effect(&before, "the key", word)]).await;
    }
    let effects = store.effects_of(before.org, before.id).await.expect("reads");
    assert_eq!(effects.iter().map(|e| e.parameters["subject"].as_str()).collect::<Vec<_>>(), ["first-subject"]);
}

async fn a_draft_is_sent_once(store: &dyn Store) {
    let planted = planted(store, Uuid::now_v7(), Uuid::now_v7(), "draft").await;
    let send = |change: &mut Change<'_>| {
        change.commit.draft_sent = Some(planted.draft.id);
        let message = change.message(Sender::HumanAgent, None, "as drafted");
        change.say(message);
    };
    let sent = change(store, &planted.row, send).await;
    assert!(store.drafts(sent.org, sent.id).await.expect("reads").is_empty());
    let clock = Clock::manual(start());
    let mut again = Change::on(&sent, &clock);
    send(&mut again);
    assert_eq!(store.commit(again.commit).await.expect("answers"), Committed::DraftGone);
    assert_eq!(now(store, &sent).await, sent, "nothing of it is stored");
}

async fn conversations_are_paged_by_activity(store: &dyn Store) {
    let (org, user) = (Uuid::now_v7(), Uuid::now_v7());
    for n in 0..9 {
        let mut row = row(org, if n < 7 { user } else { Uuid::now_v7() });
        // Some at the same time.
        row.last_activity_at = later(n / 3);
        row.status = if n == 0 { Status::Waiting } else { Status::Active };
        let new = NewConversation { row, request_id: None, fingerprint: String::new() };
        store.create(new).await.expect("creates");
    }
    for (user, status, expected) in [
        (Some(user), Some(Status::Active), 6),
        (Some(user), None, 7),
        (None, Some(Status::Waiting), 1),
        (None, None, 9),
    ] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (rows, next) = store.list(org, user, status, 3, &after).await.expect("reads");
            seen.extend(rows.into_iter().map(|c| (c.last_activity_at, c.id)));
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(seen.len(), expected);
        assert!(seen.windows(2).all(|w| w[0] > w[1]), "newest first, each once: {seen:?}");
    }
}

async fn hand_offs_are_paged_by_priority(store: &dyn Store) {
    use switchboard_conversation::model::Priority::{Critical, High, Low, Medium};
    let org = Uuid::now_v7();
    let mut expected = Vec::new();
    for (n, priority) in [Low, Critical, High, Critical, Medium, High, High].into_iter().enumerate() {
        let row = created_for(store, org, Uuid::now_v7()).await;
        let mut hand_off = escalation("queue");
        hand_off.priority = priority;
        hand_off.sla_deadline = later(i64::try_from(n % 3).expect("is small"));
        expected.push((std::cmp::Reverse(priority), hand_off.sla_deadline, hand_off.id));
        change(store, &row, |change| change.hand_off(hand_off)).await;
    }
    expected.sort();
    // One that is over waits no longer.
    let over = created_for(store, org, Uuid::now_v7()).await;
    change(store, &over, |change| change.hand_off(escalation("over"))).await;
    change(store, &over, |change| change.with_hand_off(|e| e.resolved_at = Some(later(1)))).await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (rows, next) = store.queue(org, 2, &after).await.expect("reads");
        for row in rows {
            let e = row.escalation.expect("a hand-off");
            seen.push((std::cmp::Reverse(e.priority), e.sla_deadline, e.id));
        }
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

async fn citing_answers_are_paged(store: &dyn Store) {
    let org = Uuid::now_v7();
    let mut expected = BTreeSet::new();
    for _ in 0..5 {
        expected.insert(planted(store, org, Uuid::now_v7(), "cites").await.reply.id);
    }
    for (article, version, count) in
        [("article-1", None, 5), ("article-1", Some(3), 5), ("article-1", Some(2), 0), ("x", None, 0)]
    {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (rows, next) = store.citing(org, article, version, 2, &after).await.expect("reads");
            seen.extend(rows.into_iter().map(|a| a.message));
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(seen.len(), count);
        assert!(seen.iter().all(|id| expected.contains(id)));
    }
}

async fn figures_are_counted(store: &dyn Store) {
    let planted = planted(store, Uuid::now_v7(), Uuid::now_v7(), "count").await;
    let m = store.metrics(planted.row.org, planted.row.id).await.expect("reads");
    assert_eq!((m.total, m.user, m.ai, m.intents, m.escalations), (2, 1, 1, 1, 1));
    assert_eq!((m.confidence, m.sentiment), (Some(0.9), Some(-0.5)));
    let nobody = store.metrics(Uuid::now_v7(), planted.row.id).await.expect("reads");
    assert_eq!((nobody.total, nobody.escalations, nobody.confidence), (0, 0, None));
}

async fn effects_are_claimed_by_one(store: &dyn Store) {
    let mine = |effects: Vec<switchboard_conversation::model::Effect>, ids: &HashMap<Uuid, Timestamp>| {
        effects.into_iter().filter(|e| ids.contains_key(&e.id)).collect::<Vec<_>>()
    };
    let mut due = HashMap::new();
    for n in 0..6 {
        let row = created(store).await;
        let mut effect = effect(&row, "due", "due");
        effect.next_attempt_at = later(n);
        due.insert(effect.id, effect.next_attempt_at);
        change(store, &row, |change| change.commit.effects = vec![effect]).await;
    }
    let claimed = mine(store.claim_effects(later(3), later(63), 1000).await.expect("claims"), &due);
    assert_eq!(claimed.len(), 4);
    assert!(claimed.iter().all(|e| (e.status, e.next_attempt_at) == (ActionStatus::Running, later(63))));
    assert!(claimed.iter().all(|e| e.parameters["subject"] == "due-subject"));
    assert!(
        mine(store.claim_effects(later(3), later(63), 1000).await.expect("claims"), &due).is_empty(),
        "they are taken"
    );
    let rest = mine(store.claim_effects(later(10), later(63), 1000).await.expect("claims"), &due);
    assert_eq!(rest.len(), 2);
    // Whoever had them died: they come back when the claim ends.
    assert_eq!(mine(store.claim_effects(later(63), later(99), 1000).await.expect("claims"), &due).len(), 6);
}

async fn what_is_completed_stays_completed(store: &dyn Store) {
    let row = created(store).await;
    let mut effect = effect(&row, "slow", "slow");
    change(store, &row, |change| change.commit.effects = vec![effect.clone()]).await;
    let slow = effect.clone();
    effect.status = ActionStatus::Completed;
    effect.result.insert("case_number".into(), "7".into());
    store.save_effect(&effect).await.expect("saves");
    store.save_effect(&slow).await.expect("changes nothing");
    assert_eq!(store.effects_of(row.org, row.id).await.expect("reads"), [effect.clone()]);
    assert_eq!(store.by_case(row.org, "7").await.expect("reads"), Some(row.id));
    for (status, count) in [(Some("completed"), 1), (Some("pending"), 0), (None, 1)] {
        assert_eq!(store.effects(row.org, status, 5, "").await.expect("reads").0.len(), count);
    }
    let more: Vec<_> = (0..4).map(|n| super::plant::effect(&row, &format!("k{n}"), "x")).collect();
    change(store, &row, |change| change.commit.effects = more).await;
    let (first, next) = store.effects(row.org, None, 3, "").await.expect("reads");
    let (second, end) = store.effects(row.org, None, 3, &next.expect("there are more")).await.expect("reads");
    let ids: Vec<Uuid> = first.iter().chain(&second).map(|e| e.id).collect();
    assert!(ids.len() == 5 && end.is_none() && ids.windows(2).all(|w| w[0] > w[1]), "newest first, each once");
}

async fn timers_find_what_is_due(store: &dyn Store) {
    let found = async |row: &switchboard_conversation::model::Conversation| {
        let at = later(3600);
        let is = |pairs: Vec<(Uuid, Uuid)>| pairs.contains(&(row.org, row.id));
        (
            is(store.unanswered(at, 10_000).await.expect("reads")),
            is(store.idle(at, 10_000).await.expect("reads")),
            is(store.breached(at, 10_000).await.expect("reads")),
        )
    };
    let row = created(store).await;
    assert_eq!(found(&row).await, (false, true, false));
    assert!(!store.idle(later(-1), 10_000).await.expect("reads").contains(&(row.org, row.id)), "not yet");
    assert_eq!(say(store, &row, "anybody?", None).await, Committed::Done);
    assert_eq!(found(&row).await, (true, false, false));
    let turn = |until| Some(Turn { token: Uuid::now_v7(), until });
    change(store, &row, |change| change.row().turn = turn(later(7200))).await;
    assert_eq!(found(&row).await, (false, false, false), "somebody is at it");
    change(store, &row, |change| change.row().turn = turn(later(20))).await;
    assert_eq!(found(&row).await, (true, false, false), "they died");
    change(store, &row, |change| (change.row().turn, change.row().answered_seq) = (None, 1)).await;
    assert_eq!(found(&row).await, (false, true, false));
    change(store, &row, |change| {
        change.hand_off(escalation("sla"));
        (change.row().status, change.row().owner) = (Status::Escalated, Owner::None);
    })
    .await;
    assert_eq!(found(&row).await, (false, false, true));
    assert!(!store.breached(later(59), 10_000).await.expect("reads").contains(&(row.org, row.id)), "not yet");
    change(store, &row, |change| change.with_hand_off(|e| e.assigned_to = Some(Uuid::now_v7()))).await;
    assert_eq!(found(&row).await, (false, false, false), "somebody has it");
    change(store, &row, |change| change.with_hand_off(|e| (e.assigned_to, e.breached) = (None, true))).await;
    assert_eq!(found(&row).await, (false, false, false), "it was told");
}

async fn a_duty_has_one_holder(store: &dyn Store) {
    let (one, other, name) = (Uuid::now_v7(), Uuid::now_v7(), format!("duty-{}", Uuid::now_v7()));
    assert!(store.claim_duty(&name, one, start(), later(10)).await.expect("claims"));
    assert!(!store.claim_duty(&name, other, later(9), later(19)).await.expect("claims"));
    assert!(store.claim_duty(&name, one, later(9), later(20)).await.expect("prolongs"));
    assert!(!store.claim_duty(&name, other, later(19), later(29)).await.expect("claims"));
    store.release_duty(&name, other).await.expect("is not the holder");
    assert!(!store.claim_duty(&name, other, later(19), later(29)).await.expect("claims"));
    assert!(store.claim_duty(&name, other, later(20), later(30)).await.expect("the lease has ended"));
    store.release_duty(&name, one).await.expect("is no longer the holder");
    assert!(!store.claim_duty(&name, one, later(21), later(31)).await.expect("claims"));
    store.release_duty(&name, other).await.expect("gives it back");
    assert!(store.claim_duty(&name, one, later(21), later(31)).await.expect("it is free"));
}

async fn feeds_are_kept_apart(store: &dyn Store) {
    let (org, other) = (Uuid::now_v7(), Uuid::now_v7());
    store.set_cursor(org, "a", "1").await.expect("sets");
    store.set_cursor(org, "b", "2").await.expect("sets");
    store.set_cursor(org, "a", "3").await.expect("sets");
    for (org, feed, value) in [(org, "a", Some("3")), (org, "b", Some("2")), (other, "a", None)] {
        assert_eq!(store.cursor(org, feed).await.expect("reads").as_deref(), value);
    }
}
