//! A PostgreSQL that is not there when the service starts.
use std::time::Duration;

use switchboard_proto::salesforce::v1::{self as pb, salesforce_service_client::SalesforceServiceClient};
use switchboard_runtime::{Fault, Listener, Reason, Role, Secret, stores::Ledger};
use switchboard_salesforce::{MIGRATIONS, serve};
use switchboard_testkit::{TestMesh, cluster::Door, servers::with_database};
use url::Url;
use uuid::Uuid;

use crate::rig::{A, Ground};

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
        let mesh = TestMesh::start().await;
        let ground = Ground { ledger: Ledger::Postgres(at), clock: mesh.clock.clone() };
        let (config, host) = (ground.config(true), mesh.host("salesforce"));
        mesh.run(async move |shutdown| serve(config, host, Listener::InProcess, shutdown).await);
        mesh.until_up("salesforce").await;
        let client = SalesforceServiceClient::new(mesh.host("conversation").connect("salesforce").expect("allowed"));
        let ask =
            || {
                let (mut client, request) = (client.clone(), pb::GetOrderRequest { order_number: "BS-100234".into() });
                mesh.as_user(Role::Customer, A, Uuid::nil(), async move {
                    client.get_order(request).await.map_err(Fault::from)
                })
            };
        let fault = ask().await.expect_err("there is no store");
        assert!(matches!(fault.reason, Reason::StoreFailed | Reason::Overloaded) && fault.retryable(), "{fault}");
        assert!(!fault.detail.contains("127.0.0.1"), "{fault}");
        door.lead_to(server);
        let until = async {
            while let Err(fault) = ask().await {
                assert!(fault.retryable(), "{fault}");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), until).await.expect("recovers");
    })
    .await;
}
