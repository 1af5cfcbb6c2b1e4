//! Identifiers. Each is its own type, cheap to clone, and written as plain text in events and answers.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::{Builder, Uuid};

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as it is written everywhere.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

text_id! {
    /// A person who may watch videos: `mem_` and a version 7 UUID, or `mem_` and a word chosen at creation.
    MemberId;
    /// A payer at the billing provider (`cus_…`).
    CustomerId;
    /// A subscription at the billing provider (`sub_…`).
    SubscriptionId;
    /// An invoice at the billing provider (`in_…`).
    InvoiceId;
    /// A payment at the billing provider: its payment intent (`pi_…`), or its charge (`ch_…`) where there is none.
    PaymentId;
    /// A refund at the billing provider (`re_…`).
    RefundId;
    /// A dispute at the billing provider (`dp_…`, `du_…`).
    DisputeId;
    /// An event of the billing provider (`evt_…`), the cause of what we record.
    SourceEventId;
    /// A price or legacy plan at the billing provider.
    PriceId;
    /// A product at the billing provider.
    ProductId;
    /// A plan of the catalogue, such as `basic`.
    PlanId;
    /// A roadmap of the catalogue.
    RoadmapId;
    /// A course of the catalogue.
    CourseId;
    /// A video of the catalogue.
    VideoId;
    /// Somebody's session: from a sign-in to its end (`ses_…`).
    SessionId;
    /// Access given without a payment (`grt_…`).
    GrantId;
    /// What staff wrote, kept beside the log (`rmk_…`).
    RemarkId;
    /// By which somebody is known to a provider that she signs in with, kept beside the log (`idn_…`).
    IdentityId;
}

macro_rules! generated_id {
    ($($name:ident $prefix:literal;)*) => {$(
        impl $name {
            /// A new id whose time part is `now` and whose other bits are `random`. Not a secret.
            pub fn generate(now: DateTime<Utc>, random: [u8; 10]) -> Self {
                let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
                let uuid = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
                Self(format!(concat!($prefix, "{}"), uuid.simple()).into())
            }

            /// The UUID inside a generated id.
            pub fn uuid(&self) -> Option<Uuid> {
                Uuid::try_parse(self.0.strip_prefix($prefix)?).ok()
            }
        }
    )*};
}

generated_id! {
    MemberId "mem_";
    SessionId "ses_";
    GrantId "grt_";
    RemarkId "rmk_";
    IdentityId "idn_";
}

/// Why a text is not a member id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a member id: expected mem_ and 1 to 64 letters, digits, - or _, such as mem_018f6b1c5a7e7c3a9d7e2f4b6a8c0d1e"
)]
pub struct BadMemberId(String);

impl MemberId {
    /// Reads an id that came from outside.
    pub fn parse(text: &str) -> Result<Self, BadMemberId> {
        let tail = text.strip_prefix("mem_").unwrap_or_default();
        let fits = (1..=64).contains(&tail.len())
            && tail.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits { Ok(Self(text.into())) } else { Err(BadMemberId(text.chars().take(80).collect())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_member_id_carries_its_time_and_reads_back() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let id = MemberId::generate(now, [7; 10]);
        assert_eq!(MemberId::parse(id.as_str()), Ok(id.clone()));
        let (seconds, _) = id.uuid().unwrap().get_timestamp().unwrap().to_unix();
        assert_eq!(seconds, 1_700_000_000);
    }

    #[test]
    fn ids_of_what_staff_do_say_what_they_are() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let (grant, remark) = (GrantId::generate(now, [7; 10]), RemarkId::generate(now, [7; 10]));
        assert!(grant.as_str().starts_with("grt_") && remark.as_str().starts_with("rmk_"));
        assert_eq!(grant.uuid(), remark.uuid());
    }

    #[test]
    fn a_member_id_from_outside_is_refused_when_it_could_not_be_one() {
        for bad in ["", "mem_", "cus_1", "mem_a b", "mem_é", &format!("mem_{}", "x".repeat(65))] {
            assert!(MemberId::parse(bad).is_err(), "{bad}");
        }
        assert!(MemberId::parse("mem_ada").is_ok());
    }
}
