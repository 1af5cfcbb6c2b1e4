//! What the model is compared with.

use chrono::{DateTime, Utc};
use domain::access::Decision;
use domain::catalog::Content;
use domain::grant::GrantCommand;
use domain::ids::MemberId;
use projections::access_index::{AccessIndex, NotThere};
use projections::past::{AsOf, Past, PastError};
use serde_json::Value;
use server::catalog_file;

/// What an answer says: yes or no, why, until when.
pub(super) type Answer = (bool, &'static str, Option<i64>);

/// A service, or as much of one as answers.
pub(super) trait System {
    async fn register(&mut self, member: &str, now: DateTime<Utc>);
    /// Says whether it was done.
    async fn link(&mut self, customer: &str, member: &str, now: DateTime<Utc>) -> bool;
    /// Says whether it was done.
    async fn unlink(&mut self, customer: &str, member: &str, now: DateTime<Utc>) -> bool;
    /// Says whether it was done.
    async fn grant(&mut self, id: &str, command: GrantCommand, now: DateTime<Utc>) -> bool;
    async fn apply(&mut self, file: &str, now: DateTime<Utc>);
    async fn deliver(&mut self, events: &[Value], now: DateTime<Utc>);
    fn ask(&self, member: &str, video: &str, at: DateTime<Utc>) -> Option<Answer>;
    /// What was true at a moment by what was known then.
    async fn ask_then(&self, member: &str, video: &str, moment: DateTime<Utc>) -> Option<Answer>;
    /// The read models are what the log makes of them.
    async fn verify(&self, members: &[String], videos: &[&str], now: DateTime<Utc>);
}

pub(super) fn answer(decision: &Decision) -> Answer {
    (decision.allowed, decision.reason.as_str(), decision.until.map(|until| until.timestamp()))
}

pub(super) fn live_answer(
    index: &AccessIndex,
    member: &str,
    video: &str,
    at: DateTime<Utc>,
) -> Option<Answer> {
    match index.check(&MemberId::from(member), video, at) {
        Ok(checked) => Some(answer(&checked.decision)),
        Err(NotThere::Member) => None,
        Err(NotThere::Video) => panic!("no video {video}"),
    }
}

pub(super) async fn answer_then(
    past: &Past,
    member: &str,
    video: &str,
    moment: DateTime<Utc>,
) -> Option<Answer> {
    let as_of = AsOf { at: moment, known_at: Some(moment), position: None };
    match past.explain(&MemberId::from(member), video, as_of).await {
        Ok(explanation) => Some(answer(&explanation.decision)),
        Err(PastError::UnknownMember(_)) => None,
        Err(error) => panic!("{member} {video} {moment}: {error}"),
    }
}

pub(super) fn catalog_of(file: &str) -> Content {
    catalog_file::parse(file).unwrap_or_else(|_| panic!("{file}"))
}
