//! Enum values by the words of the outside interface.
//!
//! In: numbers of the protos, or words of clients. Out: the other. Never: a word that the protos do not have.
use switchboard_errors::{Fault, Reason};
use switchboard_proto::{
    conversation::v1::{ErasureState, ResolutionType},
    events::v1::{ContentType, ConversationStatus, Owner, SenderType},
    knowledge::v1::Audience,
    types::v1::{ActionStatus, Channel, Priority, Role, Rung, SentimentLabel, Tier},
};

/// An enum of the protos.
pub(crate) trait Named: TryFrom<i32> + Copy + 'static {
    /// What the names of its values begin with.
    const PREFIX: &str;
    fn full(self) -> &'static str;
    fn of(full: &str) -> Option<Self>;
}

macro_rules! named {
    ($($type:ident: $prefix:literal),* $(,)?) => {$(
        impl Named for $type {
            const PREFIX: &str = $prefix;
            fn full(self) -> &'static str { self.as_str_name() }
            fn of(full: &str) -> Option<Self> { $type::from_str_name(full) }
        }
    )*};
}
named! {
    ActionStatus: "ACTION_STATUS_", Audience: "AUDIENCE_", Channel: "CHANNEL_", ContentType: "CONTENT_TYPE_",
    ConversationStatus: "CONVERSATION_STATUS_", ErasureState: "ERASURE_STATE_", Owner: "OWNER_", Priority: "PRIORITY_", ResolutionType: "RESOLUTION_TYPE_",
    Role: "ROLE_", Rung: "RUNG_", SenderType: "SENDER_TYPE_", SentimentLabel: "SENTIMENT_LABEL_", Tier: "TIER_",
}

/// The word of a value; none if it is unspecified or unknown.
pub(crate) fn word<T: Named>(value: i32) -> Option<String> {
    let name = T::try_from(value).ok()?.full().strip_prefix(T::PREFIX)?;
    (name != "UNSPECIFIED").then(|| name.to_ascii_lowercase())
}

/// The value of a word; none if there is no such word. Words are lower case.
pub(crate) fn value<T: Named>(word: &str) -> Option<T> {
    let usable = word != "unspecified" && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    usable.then(|| T::of(&format!("{}{}", T::PREFIX, word.to_ascii_uppercase()))).flatten()
}

/// The value of a word that a client sent, 0 where it sent none; refused with the list of words if there is no such word.
pub(crate) fn read<T: Named + Into<i32>>(field: &str, word: Option<&str>) -> Result<i32, Fault> {
    let Some(word) = word else { return Ok(0) };
    value::<T>(word).map(Into::into).ok_or_else(|| Fault::field(field, format!("{field} must be {}", words::<T>())))
}

/// The words of an enum.
pub(crate) fn all<T: Named>() -> Vec<String> {
    (1..32).map_while(word::<T>).collect()
}

/// The words of an enum, as prose.
pub(crate) fn words<T: Named>() -> String {
    all::<T>().join(", ")
}

/// The channel of a word. What is said about an unknown one is fixed by the interface.
pub(crate) fn channel(word: &str) -> Result<i32, Fault> {
    let unknown = || {
        let mut shown: String = word.chars().take(40).collect();
        shown.retain(|c| !c.is_control());
        let detail = format!("Invalid channel `{shown}`: use one of {}.", words::<Channel>());
        Fault::new(Reason::ValidationFailed, detail.clone()).with_field("channel", detail)
    };
    value::<Channel>(word).map(Into::into).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        assert_eq!(word::<ContentType>(ContentType::ErrorLog.into()).as_deref(), Some("error_log"));
        assert_eq!(word::<Owner>(0), None);
        assert_eq!(words::<Channel>(), "web, mobile, email, slack, api, phone");
        for bad in ["", "WEB", "unspecified", "fax", "web "] {
            assert_eq!(value::<Channel>(bad), None, "{bad}");
            assert!(channel(bad).expect_err("refused").detail.starts_with("Invalid channel"));
        }
    }
}
