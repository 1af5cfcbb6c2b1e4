//! What every event says beside its facts: when, who, why.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{MemberId, SourceEventId};

/// Who made something happen, as text: `stripe`, `system`, `operator`, `member:…`, `staff:…` or `service:…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(Arc<str>);

impl Actor {
    /// The billing provider, by its name.
    pub fn provider(name: &str) -> Self {
        Self(name.into())
    }

    /// This service by itself, for example a catalogue applied at start.
    pub fn system() -> Self {
        Self("system".into())
    }

    /// Whoever has the command line on the machine.
    pub fn operator() -> Self {
        Self("operator".into())
    }

    /// Somebody who did it to her own account or membership.
    pub fn member(member: &MemberId) -> Self {
        Self(format!("member:{member}").into())
    }

    /// Somebody of the staff.
    pub fn staff(member: &MemberId) -> Self {
        Self(format!("staff:{member}").into())
    }

    /// Another back end, by the name of its service token.
    pub fn service(name: &str) -> Self {
        Self(format!("service:{name}").into())
    }

    /// Whether it is somebody of the staff.
    pub fn is_staff(&self) -> bool {
        self.0.starts_with("staff:")
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a command was given with; the same for all events it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// When what the command says was true.
    pub occurred_at: DateTime<Utc>,
    /// Who asked.
    pub actor: Actor,
    /// What it follows from: the provider's event id, a request id, or a command id.
    pub cause: String,
    /// Joins everything that follows from one first cause.
    pub correlation_id: String,
    /// Whom it is for: once she is being erased the command is refused, in the very transaction that would append to the log.
    pub about: Option<MemberId>,
}

impl Context {
    /// Something the billing provider told us through one of its events.
    pub fn told_by(provider: &str, event: &SourceEventId, occurred_at: DateTime<Utc>) -> Self {
        Self {
            occurred_at,
            actor: Actor::provider(provider),
            cause: event.to_string(),
            correlation_id: event.to_string(),
            about: None,
        }
    }

    /// Something asked for by a person, a back end or this service, known by a request or command id.
    pub fn asked_by(actor: Actor, request_id: &str, now: DateTime<Utc>) -> Self {
        let (cause, correlation_id) = (request_id.to_owned(), request_id.to_owned());
        Self { occurred_at: now, actor, cause, correlation_id, about: None }
    }

    /// The same for this member, or for nobody once she is being erased.
    #[must_use]
    pub fn for_member(self, member: &MemberId) -> Self {
        Self { about: Some(member.clone()), ..self }
    }
}

/// Stored with each event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// When the fact was true.
    pub occurred_at: DateTime<Utc>,
    /// When this service learned it.
    pub recorded_at: DateTime<Utc>,
    /// Who made it happen.
    pub actor: Actor,
    /// What it follows from.
    pub cause: String,
    /// Joins everything that follows from one first cause.
    pub correlation_id: String,
}

impl Metadata {
    /// What stands in for metadata that cannot be read.
    pub fn unknown() -> Self {
        Self {
            occurred_at: DateTime::UNIX_EPOCH,
            recorded_at: DateTime::UNIX_EPOCH,
            actor: Actor("unknown".into()),
            cause: String::new(),
            correlation_id: String::new(),
        }
    }
}
