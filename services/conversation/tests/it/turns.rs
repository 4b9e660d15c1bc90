//! Turns, hand-offs, effects and timers over the real store.
use std::{collections::HashSet, sync::Arc};

use jiff::SignedDuration;
use switchboard_conversation::{
    error::Error,
    machine::{Owner, Status},
    model::{ActionStatus, EventKind, Priority, Resolution, Rung, Sender},
    targets::Change,
};
use switchboard_runtime::Role;
use tempfile::tempdir;
use uuid::Uuid;

use crate::rig::{Rig, Say, caller, incoming};

fn status(reason: &'static str) -> impl Fn(&EventKind) -> bool {
    move |kind| matches!(kind, EventKind::Status(change) if change.reason == reason)
}

#[tokio::test]
async fn a_message_gets_its_reply_and_both_are_kept() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    let outcome = rig.say(&row, "hello").await.expect("answers");
    assert_eq!(outcome.response.as_deref(), Some("1: hello"));
    assert_eq!((outcome.seq, outcome.status, outcome.owner), (2, Status::Active, Owner::Ai));
    assert_eq!(rig.transcript(&row).await, [(Sender::User, "hello".into()), (Sender::AiAgent, "1: hello".into())]);
    let row = rig.load(&row).await;
    assert!(row.turn.is_none() && !row.wants_turn());
    let receipt = rig.engine.store.receipt(row.org, row.id, outcome.message_id.expect("id")).await.expect("reads");
    assert_eq!(receipt.expect("is kept")["intent"], "test");
}

#[tokio::test]
async fn the_same_message_twice_is_once() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    let first = rig.say_as(&row, "hello", Some("a")).await.expect("answers");
    let again = rig.say_as(&row, "hello", Some("a")).await.expect("answers");
    assert_eq!(first, again);
    assert_eq!(rig.transcript(&row).await.len(), 2);
    assert!(matches!(rig.say_as(&row, "other", Some("a")).await, Err(Error::MessageIdReused)));
}

#[tokio::test]
async fn the_same_message_at_the_same_time_is_once() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    let all = futures::future::join_all((0..8).map(|_| rig.say_as(&row, "hello", Some("a")))).await;
    let ids: HashSet<_> = all.into_iter().map(|o| o.expect("answers").message_id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(rig.transcript(&row).await.len(), 2);
}

#[tokio::test]
async fn messages_during_a_turn_join_the_next_one() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    rig.mind.gate.forget_permits(1_000_000);
    let (one, (two, three)) = tokio::join!(rig.say(&row, "one"), async {
        rig.mind.thinking.acquire().await.expect("open").forget();
        let both = async { tokio::join!(rig.say(&row, "two"), rig.say(&row, "three")) };
        let open = async {
            while rig.load(&row).await.last_user_seq < 3 {
                tokio::task::yield_now().await;
            }
            rig.mind.gate.add_permits(2);
        };
        tokio::join!(both, open).0
    });
    let (one, two, three) = (one.expect("1"), two.expect("2"), three.expect("3"));
    assert_eq!(one.response.as_deref(), Some("1: one"));
    assert_eq!(two, three);
    assert!(two.response.expect("text").starts_with("2: "));
    assert_eq!(rig.transcript(&row).await.len(), 5);
}

#[tokio::test]
async fn a_reply_after_a_take_over_is_a_draft() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    rig.mind.gate.forget_permits(1_000_000);
    let (outcome, ()) = tokio::join!(rig.say(&row, "hello"), async {
        rig.mind.thinking.acquire().await.expect("open").forget();
        rig.engine.assign(&rig.agent, row.id, None).await.expect("takes over");
    });
    let outcome = outcome.expect("is told");
    assert_eq!((outcome.response, outcome.owner), (None, Owner::Human));
    // The thought comes now, too late.
    rig.mind.gate.add_permits(1);
    let drafts = loop {
        let drafts = rig.engine.store.drafts(rig.org, row.id).await.expect("reads");
        if !drafts.is_empty() {
            break drafts;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(drafts[0].content, "1: hello");
    assert!(rig.transcript(&row).await.iter().all(|(sender, _)| *sender != Sender::AiAgent));
    // While the human has it, the AI is silent.
    let silent = rig.say(&row, "are you a person?").await.expect("is stored");
    assert_eq!(silent.response, None);
    // The human sends the draft, once.
    rig.engine.send_draft(&rig.agent, row.id, drafts[0].id).await.expect("sends");
    assert!(matches!(rig.engine.send_draft(&rig.agent, row.id, drafts[0].id).await, Err(Error::DraftNotFound(_))));
    let other = caller(Role::Agent, rig.org);
    assert!(matches!(rig.engine.assign(&other, row.id, None).await, Err(Error::NotOwner)));
    // Given back, the AI answers again.
    rig.engine.release(&rig.agent, row.id).await.expect("gives back");
    rig.mind.gate.add_permits(1);
    assert!(rig.say(&row, "thanks").await.expect("answers").response.is_some());
}

#[tokio::test]
async fn a_hand_off_has_reason_queue_deadline_and_case() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    *rig.mind.say.lock().expect("lock") = Say::Escalate;
    let row = rig.begin().await;
    let outcome = rig.say(&row, "a person, please").await.expect("answers");
    assert!(outcome.requires_escalation);
    assert_eq!((outcome.status, outcome.owner), (Status::Escalated, Owner::None));
    assert_eq!(outcome.response.as_deref(), Some("A person takes over, case 00000001."));
    let escalation = outcome.escalation.expect("hand-off");
    assert_eq!((escalation.case_number.as_deref(), escalation.queue.as_str()), (Some("00000001"), "general"));
    assert!(escalation.summary.contains("a person, please"));
    let transcript = rig.transcript(&row).await;
    assert_eq!(transcript.last().map(|(s, t)| (*s, t.contains("human agent"))), Some((Sender::System, true)));
    let (queue, _) = rig.engine.store.queue(rig.org, 10, "").await.expect("reads");
    assert_eq!(queue.iter().map(|c| c.id).collect::<Vec<_>>(), [row.id]);
}

#[tokio::test]
async fn an_effect_whose_answer_is_lost_happens_once_and_is_told_later() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    *rig.mind.say.lock().expect("lock") = Say::Escalate;
    rig.targets.lose.store(1, std::sync::atomic::Ordering::SeqCst);
    let row = rig.begin().await;
    let outcome = rig.say(&row, "a person, please").await.expect("answers");
    assert_eq!(outcome.response.as_deref(), Some("It will take a moment."));
    assert_eq!(outcome.escalation.as_ref().and_then(|e| e.case_number.clone()), None);
    let mut watch = rig.watch(&row);
    rig.work();
    rig.engine.clock.advance(SignedDuration::from_secs(3));
    rig.engine.wake.notify_waiters();
    rig.until(&mut watch, status("case_created")).await;
    let row = rig.load(&row).await;
    assert_eq!(row.escalation.and_then(|e| e.case_number).as_deref(), Some("00000001"));
    assert_eq!(rig.targets.cases.lock().expect("lock").len(), 1);
    let (effects, _) = rig.engine.store.effects(rig.org, None, 10, "").await.expect("reads");
    assert_eq!(effects.iter().map(|e| (e.status, e.attempts)).collect::<Vec<_>>(), [(ActionStatus::Completed, 2)]);
}

#[tokio::test]
async fn a_turn_that_died_is_taken_up_and_doubles_nothing() {
    let folder = tempdir().expect("folder");
    let first = Rig::start(folder.path()).await;
    *first.mind.say.lock().expect("lock") = Say::OpenCase;
    let row = first.begin().await;
    first.mind.gate.forget_permits(1_000_000);
    // The process dies while it thinks: its turn's lease and the message stay in the ledger.
    let engine = first.engine.clone();
    let (lost, message) = (row.clone(), incoming(&first.customer, "open a case", Some("m")));
    let asking = tokio::spawn(async move { engine.converse(&lost, message).await });
    first.mind.thinking.acquire().await.expect("open").forget();
    asking.abort();
    first.store.close().await;

    let second = Rig::with(folder.path(), first.engine.clock.clone(), first.targets.clone(), first.org).await;
    *second.mind.say.lock().expect("lock") = Say::OpenCase;
    let mut watch = second.watch(&row);
    second.work();
    second.until(&mut watch, |kind| matches!(kind, EventKind::Message(m) if m.sender == Sender::AiAgent)).await;
    let transcript = second.transcript(&row).await;
    assert_eq!(transcript[1], (Sender::AiAgent, "Your case is 00000001.".into()));
    assert_eq!(second.targets.cases.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn a_turn_that_is_run_again_finds_its_own_effects() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    *rig.mind.say.lock().expect("lock") = Say::OpenCase;
    let row = rig.begin().await;
    let first = rig.say(&row, "open a case").await.expect("answers");
    let (effects, _) = rig.engine.store.effects(rig.org, None, 10, "").await.expect("reads");
    assert_eq!(effects.len(), 1);
    assert!(effects[0].key.starts_with(&first.user_message_id.to_string()));
    let second = rig.say(&row, "another").await.expect("answers");
    assert_eq!(second.response.as_deref(), Some("Your case is 00000002."));
}

#[tokio::test]
async fn a_mind_that_fails_leads_to_a_human() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    *rig.mind.say.lock().expect("lock") = Say::Fail;
    let row = rig.begin().await;
    let outcome = rig.say(&row, "hello").await.expect("answers all the same");
    assert_eq!(outcome.rung, Some(Rung::Human));
    assert!(outcome.response.expect("words").contains("00000001"));
    assert_eq!(outcome.status, Status::Escalated);
    // The next one is acknowledged, without a second hand-off.
    let again = rig.say(&row, "still there?").await.expect("answers");
    assert!(again.requires_escalation && again.response.is_some());
    assert_eq!(rig.targets.cases.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn many_writers_keep_one_order() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    let texts: Vec<String> = (0..30).map(|i| format!("m{i}")).collect();
    let outcomes = futures::future::join_all(texts.iter().map(|t| rig.say(&row, t))).await;
    for outcome in outcomes {
        assert!(outcome.expect("answers").response.is_some());
    }
    let transcript = rig.transcript(&row).await;
    let said: HashSet<_> = transcript.iter().filter(|(s, _)| *s == Sender::User).map(|(_, t)| t.clone()).collect();
    assert_eq!(said, texts.into_iter().collect());
}

#[tokio::test]
async fn a_quiet_day_closes_a_conversation_by_what_was_open() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let (answered, silent) = (rig.begin().await, rig.begin().await);
    rig.say(&answered, "hello").await.expect("answers");
    let mut watches = [rig.watch(&answered), rig.watch(&silent)];
    rig.work();
    rig.engine.clock.advance(SignedDuration::from_hours(25));
    rig.engine.wake.notify_waiters();
    rig.until(&mut watches[0], status("assumed_resolved")).await;
    rig.until(&mut watches[1], status("abandoned")).await;
    let answered = rig.load(&answered).await;
    assert_eq!(
        (answered.status, answered.resolution, answered.assumed),
        (Status::Resolved, Some(Resolution::Automated), true)
    );
    assert!(rig.load(&silent).await.ended_at.is_some());
    // A word reopens it; eight days later it begins anew.
    rig.say(&answered, "one more thing").await.expect("answers");
    assert_eq!(rig.load(&answered).await.status, Status::Active);
    rig.engine.clock.advance(SignedDuration::from_hours(25));
    rig.engine.wake.notify_waiters();
    rig.until(&mut watches[0], status("assumed_resolved")).await;
    rig.engine.clock.advance(SignedDuration::from_hours(24 * 8));
    let next = rig.engine.continued(rig.load(&answered).await).await.expect("continues");
    assert_eq!(next.previous, Some(answered.id));
    assert_eq!(rig.engine.continued(rig.load(&answered).await).await.expect("continues").id, next.id);
}

#[tokio::test]
async fn a_missed_deadline_raises_the_priority_once() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    rig.engine.escalate(&rig.customer, row.id, "", None).await.expect("hands over");
    let mut watch = rig.watch(&row);
    rig.work();
    rig.engine.clock.advance(SignedDuration::from_hours(5));
    rig.engine.wake.notify_waiters();
    rig.until(&mut watch, status("sla_breached")).await;
    let escalation = rig.load(&row).await.escalation.expect("hand-off");
    assert_eq!((escalation.priority, escalation.breached), (Priority::High, true));
    assert!(rig.engine.store.breached(rig.engine.clock.now(), 10).await.expect("reads").is_empty());
}

#[tokio::test]
async fn what_people_do_in_salesforce_appears_once() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    *rig.mind.say.lock().expect("lock") = Say::Escalate;
    let row = rig.begin().await;
    rig.say(&row, "a person, please").await.expect("answers");
    let case_number = "00000001".to_owned();
    let comment = Change::Comment { case_number: case_number.clone(), body: "We are on it.".into(), id: "c1".into() };
    // The same change twice: a feed may repeat itself.
    *rig.targets.changes.lock().expect("lock") = vec![comment.clone(), comment, Change::Closed { case_number }];
    let mut watch = rig.watch(&row);
    rig.work();
    rig.until(&mut watch, status("resolved")).await;
    let comments = rig.transcript(&row).await.into_iter().filter(|(_, text)| text == "We are on it.").count();
    assert_eq!(comments, 1);
    assert_eq!(rig.load(&row).await.status, Status::Resolved);
}

#[tokio::test]
async fn nobody_sees_anothers_conversation() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    for stranger in [caller(Role::Customer, rig.org), caller(Role::Admin, Uuid::now_v7())] {
        assert!(matches!(rig.engine.see(&stranger, row.id).await, Err(Error::ConversationNotFound(_))));
        assert!(rig.engine.escalate(&stranger, row.id, "", None).await.is_err());
        assert!(rig.engine.resolve(&stranger, row.id, "").await.is_err());
    }
    assert!(rig.engine.assign(&caller(Role::Admin, Uuid::now_v7()), row.id, None).await.is_err());
    assert_eq!(rig.load(&row).await.seq, 0);
    let _kept = Arc::clone(&rig.engine);
}

#[tokio::test]
async fn a_mind_that_starts_later_is_waited_for() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    *rig.mind.say.lock().expect("lock") = Say::Late(2);
    let row = rig.begin().await;
    let outcome = rig.say(&row, "hello").await.expect("answers");
    assert_eq!((outcome.rung, outcome.status), (Some(Rung::Extract), Status::Active));
}

#[tokio::test]
async fn a_long_queue_is_answered_oldest_first_and_whole() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    rig.mind.gate.forget_permits(1_000_000);
    let texts: Vec<String> = (0..45).map(|i| format!("m{i}.")).collect();
    let (outcomes, ()) = tokio::join!(futures::future::join_all(texts.iter().map(|t| rig.say(&row, t))), async {
        while rig.load(&row).await.last_user_seq < 45 {
            tokio::task::yield_now().await;
        }
        rig.mind.gate.add_permits(100);
    });
    assert!(outcomes.into_iter().all(|o| o.expect("answers").response.is_some()));
    let replies = rig.transcript(&row).await;
    let replies: Vec<String> = replies.into_iter().filter(|(s, _)| *s == Sender::AiAgent).map(|(_, t)| t).collect();
    for text in texts {
        assert_eq!(replies.iter().filter(|r| r.contains(&text)).count(), 1, "{text} is in exactly one turn");
    }
}

#[tokio::test]
async fn what_waits_for_an_answer_is_never_idle() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    rig.mind.gate.forget_permits(1_000_000);
    let (engine, lost, message) = (rig.engine.clone(), row.clone(), incoming(&rig.customer, "hello?", None));
    let asking = tokio::spawn(async move { engine.converse(&lost, message).await });
    rig.mind.thinking.acquire().await.expect("open").forget();
    rig.engine.clock.advance(SignedDuration::from_hours(48));
    let since = rig.engine.before_now(rig.engine.config.idle_after);
    assert!(rig.engine.store.idle(since, 10).await.expect("reads").is_empty());
    rig.mind.gate.add_permits(1);
    assert!(asking.await.expect("joins").expect("answers").response.is_some());
}

#[tokio::test]
async fn a_human_who_leaves_without_a_word_leaves_the_answer_to_the_ai() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    rig.engine.assign(&rig.agent, row.id, None).await.expect("takes over");
    assert_eq!(rig.say(&row, "anybody there?").await.expect("is stored").response, None);
    let mut watch = rig.watch(&row);
    rig.engine.release(&rig.agent, row.id).await.expect("gives back");
    rig.work();
    rig.until(&mut watch, |kind| matches!(kind, EventKind::Message(m) if m.content == "1: anybody there?")).await;
}

#[tokio::test]
async fn an_effect_that_is_given_up_goes_to_a_human() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    *rig.mind.say.lock().expect("lock") = Say::OpenCase;
    // The first answer is lost; on the second try the org refuses for good.
    rig.targets.lose.store(1, std::sync::atomic::Ordering::SeqCst);
    let row = rig.begin().await;
    rig.say(&row, "open a case").await.expect("answers");
    rig.targets.refuse.store(1, std::sync::atomic::Ordering::SeqCst);
    let mut watch = rig.watch(&row);
    rig.work();
    rig.engine.clock.advance(SignedDuration::from_secs(3));
    rig.until(&mut watch, status("effect_failed")).await;
    let row = rig.load(&row).await;
    assert_eq!((row.status, row.owner), (Status::Escalated, Owner::None));
    let (effects, _) = rig.engine.store.effects(rig.org, None, 10, "").await.expect("reads");
    assert_eq!(effects.iter().map(|e| e.status).collect::<Vec<_>>(), [ActionStatus::Failed]);
}

#[tokio::test]
async fn an_agent_and_a_customer_count_their_ids_apart() {
    let folder = tempdir().expect("folder");
    let rig = Rig::start(folder.path()).await;
    let row = rig.begin().await;
    rig.say_as(&row, "hello", Some("1")).await.expect("answers");
    rig.engine.assign(&rig.agent, row.id, None).await.expect("takes over");
    let words = switchboard_conversation::turn::Incoming {
        sender: Sender::HumanAgent,
        ..incoming(&rig.agent, "Hi, I'm Kim.", Some("1"))
    };
    let seen = rig.load(&row).await;
    rig.engine.speak(&rig.agent, &seen, words).await.expect("is another message");
}
