//! Everything that is kept of a person, as JSON for that person.
//!
//! In: what the store has, opened. Out: an object whose names are the contract. Never: a hash, a key, a token: they say
//! nothing about the person and open doors.
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use switchboard_runtime::caller::role_name;

use crate::{activity::Activity, lockout::Failures, store::Export};

fn time(time: Timestamp) -> Value {
    time.to_string().into()
}

fn some_time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, time)
}

fn activity(row: &Activity) -> Value {
    json!({
        "seq": row.seq, "at": time(row.at), "by": row.by, "action": row.action,
        "resource_type": row.resource_type, "resource_id": row.resource_id, "details": row.details,
    })
}

/// The object.
pub fn data(kept: &Export, failed: &[(String, Failures)]) -> Map<String, Value> {
    let Export { user, password_set, sessions, resets, activity: log } = kept;
    let sessions = sessions.iter().map(|s| {
        json!({
            "family": s.family, "created_at": time(s.created), "expires_at": time(s.expires),
            "used_at": some_time(s.used), "revoked_at": some_time(s.revoked),
        })
    });
    let resets = resets
        .iter()
        .map(|r| json!({ "request_id": r.request_id, "expires_at": time(r.expires), "used_at": some_time(r.used) }));
    let failed = failed.iter().map(|(name, f)| json!({ "name": name, "count": f.count, "last_at": time(f.last) }));
    let mut data = Map::new();
    let user = json!({
        "id": user.id, "organization_id": user.org, "external_id": user.external_id, "email": user.email,
        "full_name": user.full_name, "role": role_name(user.role), "tier": user.tier.name(), "guest": user.guest,
        "created_at": time(user.created), "erased_at": some_time(user.erased),
    });
    data.insert("user".to_owned(), user);
    data.insert("password_set_at".to_owned(), some_time(*password_set));
    data.insert("sessions".to_owned(), sessions.collect());
    data.insert("password_resets".to_owned(), resets.collect());
    data.insert("failed_sign_ins".to_owned(), failed.collect());
    data.insert("activity".to_owned(), log.iter().map(activity).collect());
    data
}
