//! Conversions between protobuf's well-known types and Rust's: JSON, timestamps, durations.
//!
//! In and out: values. Never: business meaning.
use std::time::Duration;

use jiff::Timestamp;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::{Map, Number, Value as Json};

/// A JSON object as a protobuf Struct.
pub fn to_struct(map: &Map<String, Json>) -> Struct {
    Struct { fields: map.iter().map(|(k, v)| (k.clone(), to_value(v))).collect() }
}

/// A JSON value as a protobuf Value. Numbers become doubles: that is all protobuf has.
pub fn to_value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(b) => Kind::BoolValue(*b),
        Json::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        Json::String(s) => Kind::StringValue(s.clone()),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(to_value).collect() }),
        Json::Object(map) => Kind::StructValue(to_struct(map)),
    };
    Value { kind: Some(kind) }
}

/// A protobuf Struct as a JSON object.
pub fn from_struct(s: &Struct) -> Map<String, Json> {
    s.fields.iter().map(|(k, v)| (k.clone(), from_value(v))).collect()
}

/// A protobuf Value as JSON; whole numbers come back as integers.
pub fn from_value(v: &Value) -> Json {
    match &v.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(b)) => Json::Bool(*b),
        // 2^53: up to here every whole double is exactly one integer.
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0 => Json::from(*n as i64),
        Some(Kind::NumberValue(n)) => Number::from_f64(*n).map_or(Json::Null, Json::Number),
        Some(Kind::StringValue(s)) => Json::String(s.clone()),
        Some(Kind::ListValue(l)) => Json::Array(l.values.iter().map(from_value).collect()),
        Some(Kind::StructValue(s)) => Json::Object(from_struct(s)),
    }
}

/// A point in time for the wire.
pub fn timestamp(t: Timestamp) -> prost_types::Timestamp {
    // jiff counts both parts with the sign of the instant; protobuf wants nanos that are never negative.
    let (mut seconds, mut nanos) = (t.as_second(), t.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    prost_types::Timestamp { seconds, nanos }
}

/// A point in time from the wire; none if it is out of range.
pub fn from_timestamp(t: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(t.seconds, t.nanos).ok()
}

/// A span for the wire.
pub fn duration(d: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: d.as_secs() as i64, nanos: d.subsec_nanos() as i32 }
}

/// A span from the wire; negative spans are zero.
pub fn from_duration(d: &prost_types::Duration) -> Duration {
    Duration::new(u64::try_from(d.seconds).unwrap_or_default(), u32::try_from(d.nanos).unwrap_or_default())
}

/// The enum's name as the outside interface spells it: `CHANNEL_WEB` → `web`.
pub fn short_name(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_round_trip() {
        let json = serde_json::json!({"a": [1, 2.5, "x", null, true], "b": {"c": -7}});
        assert_eq!(from_value(&to_value(&json)), json);
    }

    #[test]
    fn time_before_1970_keeps_its_fraction() {
        let t = Timestamp::new(-1, -500_000_000).expect("in range");
        let wire = timestamp(t);
        assert_eq!((wire.seconds, wire.nanos), (-2, 500_000_000));
        assert_eq!(from_timestamp(&wire), Some(t));
    }
}
