//! What must hold for all servers at once, without one that runs.
use std::collections::BTreeSet;

use serde_yaml_ng::Value;

use super::*;

fn port_of(url: &str) -> u16 {
    url.rsplit_once(':').expect("a port").1.split('/').next().expect("digits").parse().expect("a number")
}

fn compose() -> Value {
    serde_yaml_ng::from_str(&std::fs::read_to_string(crate::shell::root().join("compose.yaml")).expect("compose.yaml"))
        .expect("YAML")
}

#[test]
fn addresses_are_loopback_and_on_the_servers_own_ports() {
    let mut seen = BTreeSet::new();
    for backend in ALL {
        assert!(backend.url().contains("127.0.0.1:"), "{}", backend.url());
        assert_eq!(
            port_of(backend.url()),
            backend.ports()[0],
            "{}: the first port is the one of its address",
            backend.name()
        );
        for port in backend.ports() {
            assert!((1024..32768).contains(port), "{port}: above, the system lends ports to others");
            assert!(seen.insert(*port), "{port} has two servers");
        }
    }
}

#[test]
fn every_server_has_a_service_of_compose_on_the_same_ports() {
    let compose = compose();
    let services = compose["services"].as_mapping().expect("services");
    assert_eq!(services.len(), ALL.len());
    for backend in ALL {
        let service = &compose["services"][backend.name()];
        let published: Vec<u16> = service["ports"]
            .as_sequence()
            .unwrap_or_else(|| panic!("{} is not in compose.yaml", backend.name()))
            .iter()
            .map(|port| {
                let rest = port.as_str().expect("text").strip_prefix("127.0.0.1:").expect("loopback");
                rest.split(':').next().expect("host").parse().expect("a number")
            })
            .collect();
        assert_eq!(published[0], port_of(backend.url()), "{}", backend.name());
        assert!(published.iter().all(|port| backend.ports().contains(port)), "{}: {published:?}", backend.name());
        assert!(service["healthcheck"]["test"].is_sequence(), "{}: compose must wait for it", backend.name());
        let (_, tag) = service["image"].as_str().expect("image").split_once(':').expect("a tag");
        assert!(tag.starts_with(|c: char| c.is_ascii_digit()), "{}: {tag} is not pinned", backend.name());
    }
}

#[test]
fn volumes_of_compose_are_declared_and_used() {
    let compose = compose();
    let declared: BTreeSet<&str> =
        compose["volumes"].as_mapping().expect("volumes").keys().filter_map(Value::as_str).collect();
    let services = compose["services"].as_mapping().expect("services").values();
    let used: BTreeSet<&str> = services
        .filter_map(|service| service["volumes"].as_sequence())
        .flatten()
        .filter_map(|volume| volume.as_str()?.split(':').next())
        .collect();
    assert_eq!(declared, used);
}

#[test]
fn names_are_checked_and_keep_their_order() {
    let names = |asked: &[&str]| named(asked).map(|found| found.iter().map(|b| b.name()).collect::<Vec<_>>());
    assert_eq!(names(&["redis", "postgres"]).expect("known"), ["postgres", "redis"]);
    assert_eq!(names(&[]).expect("all").len(), ALL.len());
    assert!(names(&["postgrs"]).expect_err("unknown").contains("there are postgres, redis"));
    assert!(run(&["up", "--purge"]).expect_err("up does not purge").contains("--purge"));
    assert!(run(&["restart"]).is_err());
}

#[test]
fn tests_get_an_address_per_server() {
    let pairs = environment(&[&redis::Redis, &jaeger::Jaeger]);
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("SWITCHBOARD_TEST_REDIS", "redis://127.0.0.1:16379"),
            ("SWITCHBOARD_TEST_JAEGER_QUERY", "http://127.0.0.1:16686"),
            ("SWITCHBOARD_TEST_JAEGER", "http://127.0.0.1:14317"),
        ]
    );
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its number").port();
    assert!(free(&[port]).expect_err("taken").contains(&format!("port {port} is taken")));
}
