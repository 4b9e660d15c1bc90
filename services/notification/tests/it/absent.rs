//! A PostgreSQL that is not there when the service starts.
use std::time::Duration;

use switchboard_notification::{MIGRATIONS, serve};
use switchboard_proto::notification::v1::{
    self as pb, notification_service_client::NotificationServiceClient, send_request::Content,
};
use switchboard_runtime::{Fault, Listener, Reason, Role, Secret, stores::Ledger};
use switchboard_testkit::{TestMesh, cluster::Door, servers::with_database};
use url::Url;
use uuid::Uuid;

use crate::rig::Ground;

#[tokio::test]
async fn the_service_starts_without_postgres_and_recovers_by_itself() {
    with_database(|database| async move {
        MIGRATIONS.apply(&database.ledger()).await.expect("migrates");
        let mut url = Url::parse(&database.url).expect("a URL");
        // Nobody ever listens on port 0.
        let door = Door::to(0).await;
        let server = url.port().unwrap_or(5432);
        url.set_port(Some(door.port)).expect("a port");
        let mut at = database.at.clone();
        at.url = Secret::new(url.as_str());
        let (mesh, ground) = (TestMesh::start().await, Ground::new(Some(Ledger::Postgres(at))));
        let (config, host) = (ground.config(), mesh.host("notification"));
        mesh.run(async move |shutdown| serve(config, host, Listener::InProcess, shutdown).await);
        mesh.until_up("notification").await;
        let channel = mesh.host("conversation").connect("notification").expect("allowed");
        let (client, org) = (NotificationServiceClient::new(channel), Uuid::now_v7());
        let send = || {
            let content = Some(Content::Slack(pb::Slack { channel: "#support".into(), text: "help".into() }));
            let request = pb::SendRequest { idempotency_key: "k".into(), content, user_id: String::new() };
            let mut client = client.clone();
            mesh.as_user(
                Role::Service,
                org,
                Uuid::nil(),
                async move { client.send(request).await.map_err(Fault::from) },
            )
        };
        let fault = send().await.expect_err("there is no store");
        assert!(matches!(fault.reason, Reason::StoreFailed | Reason::Overloaded) && fault.retryable(), "{fault}");
        assert!(!fault.detail.contains("127.0.0.1"), "{fault}");
        assert_eq!(ground.outbox(), [], "nothing is sent that is not written down first");
        door.lead_to(server);
        let until = async {
            while let Err(fault) = send().await {
                assert!(fault.retryable(), "{fault}");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), until).await.expect("recovers");
        assert_eq!(ground.outbox().len(), 1);
    })
    .await;
}
