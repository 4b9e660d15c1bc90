//! The service through its stub: access, checks of input, and the stream of events.
use std::{sync::Arc, time::Duration};

use switchboard_conversation::{
    grpc::Conversations,
    model::Sender,
    shared::Shared,
    store::{MIGRATIONS, open},
};
use switchboard_proto::{
    conversation::v1 as pb,
    conversation::v1::{
        conversation_service_client::ConversationServiceClient, conversation_service_server::ConversationServiceServer,
        subscribe_response::Kind,
    },
    types::v1::Channel,
};
use switchboard_runtime::{
    Clock, Fault, Listener, MeshChannel, Reason, Role,
    server::{Served, serve},
};
use switchboard_testkit::servers::{self, with_database};
use tempfile::tempdir;
use tonic::service::Routes;
use uuid::Uuid;

use crate::rig::Rig;

pub type Client = ConversationServiceClient<MeshChannel>;

pub async fn served(rig: &Rig) -> Client {
    let service = Conversations { engine: rig.engine.clone(), shutdown: rig.shutdown.clone() };
    let routes = Routes::new(ConversationServiceServer::new(service));
    let host = rig.mesh.host("conversation");
    let served = Served {
        routes,
        services: &[],
        public: &[],
        verifier: rig.mesh.verifier(),
        condition: switchboard_runtime::Condition::well(),
    };
    rig.mesh.run(async move |shutdown| serve(served, &host, Listener::InProcess, shutdown).await);
    rig.mesh.until_up("conversation").await;
    ConversationServiceClient::new(rig.mesh.host("edge").connect("conversation").expect("link"))
}

fn create() -> pb::CreateConversationRequest {
    pb::CreateConversationRequest { channel: Channel::Web.into(), ..Default::default() }
}

#[tokio::test]
async fn a_watcher_sees_every_event_once_and_in_order() {
    let folder = tempdir().expect("folder");
    watch_from_the_middle(&Rig::start(folder.path()).await).await;
}

async fn watch_from_the_middle(rig: &Rig) {
    let mut client = served(rig).await;
    let (org, user) = (rig.org, Uuid::now_v7());
    let work = async {
        let id =
            client.create_conversation(create()).await.expect("creates").into_inner().conversation.expect("row").id;
        let say = |text: &str| pb::ProcessMessageRequest {
            conversation_id: id.clone(),
            content: text.into(),
            ..Default::default()
        };
        client.process_message(say("before")).await.expect("answers");
        let ask = pb::SubscribeRequest { conversation_id: id.clone(), after_seq: Some(1) };
        let mut stream = client.subscribe(ask).await.expect("watches").into_inner();
        let writers = futures::future::join_all((0..20).map(|i| {
            let (mut client, message) = (client.clone(), say(&format!("m{i}")));
            async move { client.process_message(message).await.map(|_| ()) }
        }));
        let mut seqs = Vec::new();
        let reader = async {
            let mut users = 0;
            while users < 20 || seqs.len() < 22 {
                let item = stream.message().await.expect("goes on").expect("is open");
                if let Some(Kind::Event(event)) = item.kind {
                    seqs.push(event.seq);
                    let Some(switchboard_proto::events::v1::conversation_event::Kind::MessageAdded(m)) = event.kind
                    else {
                        continue;
                    };
                    let sender = m.message.expect("message").sender_type();
                    users += usize::from(sender == switchboard_proto::events::v1::SenderType::User);
                }
            }
        };
        let (written, ()) = tokio::time::timeout(Duration::from_secs(25), async { tokio::join!(writers, reader) })
            .await
            .expect("in time");
        assert!(written.iter().all(Result::is_ok));
        let expected: Vec<u64> = (2..).take(seqs.len()).collect();
        assert_eq!(seqs, expected);
    };
    rig.mesh.as_user(Role::Customer, org, user, work).await;
}

#[tokio::test]
async fn bad_input_names_every_field() {
    let folder = tempdir().expect("folder");
    send_bad_input(&Rig::start(folder.path()).await).await;
}

async fn send_bad_input(rig: &Rig) {
    let mut client = served(rig).await;
    let work = async {
        let bad = pb::CreateConversationRequest {
            user_id: "x".into(),
            initial_message: Some(String::new()),
            ..Default::default()
        };
        let fault = Fault::from_status(&client.create_conversation(bad).await.expect_err("refused"));
        assert_eq!(fault.reason, Reason::ValidationFailed);
        assert_eq!(
            fault.fields.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(),
            ["channel", "user_id", "initial_message"]
        );
        let id =
            client.create_conversation(create()).await.expect("creates").into_inner().conversation.expect("row").id;
        for (content, why) in [("", "empty"), ("a\0b", "U+0000")] {
            let request = pb::ProcessMessageRequest {
                conversation_id: id.clone(),
                content: content.into(),
                ..Default::default()
            };
            let fault = Fault::from_status(&client.process_message(request).await.expect_err("refused"));
            assert!(fault.fields[0].detail.contains(why), "{fault}");
        }
        let long =
            pb::ProcessMessageRequest { conversation_id: id.clone(), content: "ü".repeat(5001), ..Default::default() };
        assert!(client.process_message(long).await.is_err());
        let longest =
            pb::ProcessMessageRequest { conversation_id: id, content: "ü".repeat(5000), ..Default::default() };
        client.process_message(longest).await.expect("5000 characters are taken");
    };
    rig.mesh.as_user(Role::Customer, rig.org, Uuid::now_v7(), work).await;
}

#[tokio::test]
async fn roles_are_checked() {
    let folder = tempdir().expect("folder");
    act_in_the_wrong_role(&Rig::start(folder.path()).await).await;
}

async fn act_in_the_wrong_role(rig: &Rig) {
    let mut client = served(rig).await;
    let user = Uuid::now_v7();
    let id = rig
        .mesh
        .as_user(Role::Customer, rig.org, user, async {
            let id =
                client.create_conversation(create()).await.expect("creates").into_inner().conversation.expect("row").id;
            let assign = pb::AssignRequest { conversation_id: id.clone(), ..Default::default() };
            let refused = Fault::from_status(&client.assign(assign).await.expect_err("refused"));
            assert_eq!(refused.reason, Reason::PermissionDenied);
            assert!(client.list_queue(pb::ListQueueRequest::default()).await.is_err());
            assert!(client.list_effects(pb::ListEffectsRequest::default()).await.is_err());
            id
        })
        .await;
    let mut client = ConversationServiceClient::new(rig.mesh.host("edge").connect("conversation").expect("link"));
    rig.mesh
        .as_user(Role::Agent, rig.org, Uuid::now_v7(), async {
            let message =
                pb::ProcessMessageRequest { conversation_id: id.clone(), content: "Hi".into(), ..Default::default() };
            let refused = Fault::from_status(&client.process_message(message.clone()).await.expect_err("refused"));
            assert_eq!(refused.reason, Reason::NotOwner);
            client
                .assign(pb::AssignRequest { conversation_id: id.clone(), ..Default::default() })
                .await
                .expect("takes over");
            client.process_message(message).await.expect("is a human's message");
        })
        .await;
    let row = rig.engine.store.load(rig.org, id.parse().expect("id")).await.expect("reads").expect("is there");
    assert!(rig.transcript(&row).await.contains(&(Sender::HumanAgent, "Hi".into())));
}

#[tokio::test]
async fn the_stub_says_the_same_over_postgres() {
    with_database(async |database| {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        let folder = tempdir().expect("folder");
        let rig = async || {
            let (store, mut condition) = open(&database.ledger(), servers::vault()).await.expect("opens");
            condition.until_well().await;
            let clock = Clock::manual("2026-03-02T10:00:00Z".parse().expect("time"));
            let alone = |store, metrics: &_, _: &_| Shared::alone(store, metrics);
            Rig::over(store, folder.path(), clock, Arc::default(), Uuid::now_v7(), alone).await
        };
        let rigs = [rig().await, rig().await, rig().await];
        watch_from_the_middle(&rigs[0]).await;
        send_bad_input(&rigs[1]).await;
        act_in_the_wrong_role(&rigs[2]).await;
        for rig in rigs {
            rig.shutdown.cancel();
            rig.store.close().await;
        }
    })
    .await;
}
