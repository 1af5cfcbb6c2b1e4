//! Access that staff gave without a payment. Independent of every payment: the end of one never takes the other.

use chrono::{DateTime, SubsecRound, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::events::Dated;
use crate::ids::{MemberId, PlanId, RemarkId};

/// What was given, to whom, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// To whom.
    pub member: MemberId,
    /// It opens what this plan opens.
    pub plan: PlanId,
    /// From when.
    pub from: DateTime<Utc>,
    /// Until when; for good when not given.
    pub until: Option<DateTime<Utc>>,
}

impl Given {
    /// The same with moments as every table keeps them, to the microsecond.
    fn in_micros(self) -> Self {
        let Self { member, plan, from, until } = self;
        Self { member, plan, from: from.trunc_subsecs(6), until: until.map(|until| until.trunc_subsecs(6)) }
    }

    fn ends_after_it_begins(&self) -> Result<(), GrantError> {
        match self.until {
            Some(until) if until <= self.from => Err(GrantError::EndsBeforeItBegins { from: self.from }),
            _ => Ok(()),
        }
    }
}

/// What can be told to a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantCommand {
    /// Give it.
    Give {
        /// To whom.
        member: MemberId,
        /// What.
        plan: PlanId,
        /// From when.
        from: DateTime<Utc>,
        /// Until when; for good when not given.
        until: Option<DateTime<Utc>>,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// Let it end at another moment, later or earlier.
    Move {
        /// Until when; for good when not given.
        until: Option<DateTime<Utc>>,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// Take it back, at once.
    Revoke {
        /// Why, in words beside the log.
        remark: RemarkId,
    },
}

/// What happened to a grant. Each tells the whole of it, so that who reads needs to remember nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum GrantEvent {
    /// It was given.
    #[serde(rename = "AccessGranted")]
    AccessGranted {
        /// To whom.
        member: MemberId,
        /// It opens what this plan opens.
        plan: PlanId,
        /// From when.
        from: DateTime<Utc>,
        /// Until when; for good when not given.
        until: Option<DateTime<Utc>>,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// It ends at another moment, later or earlier.
    #[serde(rename = "GrantExtended")]
    GrantExtended {
        /// Whose it is.
        member: MemberId,
        /// It opens what this plan opens.
        plan: PlanId,
        /// From when.
        from: DateTime<Utc>,
        /// Until when it was before.
        was_until: Option<DateTime<Utc>>,
        /// Until when; for good when not given.
        until: Option<DateTime<Utc>>,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// It was taken back.
    #[serde(rename = "GrantRevoked")]
    GrantRevoked {
        /// Whose it was.
        member: MemberId,
        /// It opened what this plan opens.
        plan: PlanId,
        /// From when.
        from: DateTime<Utc>,
        /// Until when it would have been.
        until: Option<DateTime<Utc>>,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
}

/// Why a grant is not changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GrantError {
    /// It ends before it begins.
    #[error("a grant ends after it begins, which is at {}; choose a later end, or revoke it", from.to_rfc3339())]
    EndsBeforeItBegins {
        /// When it begins.
        from: DateTime<Utc>,
    },
    /// There is no such grant.
    #[error("no such grant was given")]
    NotGiven,
    /// It was taken back before.
    #[error("this grant was revoked, which is final; give another one")]
    AlreadyRevoked,
    /// The id belongs to another grant.
    #[error("this id belongs to another grant, given to {0}; use a new one")]
    GivenToAnother(MemberId),
}

/// One grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// As it was given first, and why.
    first: Option<(Given, RemarkId)>,
    given: Option<Given>,
    revoked: bool,
}

impl Grant {
    /// What is given, if it was.
    pub fn given(&self) -> Option<&Given> {
        self.given.as_ref()
    }

    /// Whether it was taken back.
    pub fn is_revoked(&self) -> bool {
        self.revoked
    }
}

/// The events that follow from `command`; none means already so.
pub fn decide(grant: &Grant, command: GrantCommand) -> Result<Vec<GrantEvent>, GrantError> {
    match (command, &grant.given) {
        (GrantCommand::Give { member, plan, from, until, remark }, held) => {
            let given = Given { member, plan, from, until }.in_micros();
            if let Some(held) = held {
                let again = grant.first.as_ref() == Some(&(given, remark));
                return if again { Ok(vec![]) } else { Err(GrantError::GivenToAnother(held.member.clone())) };
            }
            given.ends_after_it_begins()?;
            let Given { member, plan, from, until } = given;
            Ok(vec![GrantEvent::AccessGranted { member, plan, from, until, remark }])
        }
        (GrantCommand::Move { .. } | GrantCommand::Revoke { .. }, None) => Err(GrantError::NotGiven),
        (GrantCommand::Move { until, remark }, Some(held)) => {
            if grant.revoked {
                return Err(GrantError::AlreadyRevoked);
            }
            let moved = Given { until, ..held.clone() }.in_micros();
            if moved == *held {
                return Ok(vec![]);
            }
            moved.ends_after_it_begins()?;
            let Given { member, plan, from, until } = moved;
            Ok(vec![GrantEvent::GrantExtended { member, plan, from, was_until: held.until, until, remark }])
        }
        (GrantCommand::Revoke { .. }, Some(_)) if grant.revoked => Ok(vec![]),
        (GrantCommand::Revoke { remark }, Some(held)) => {
            let Given { member, plan, from, until } = held.clone();
            Ok(vec![GrantEvent::GrantRevoked { member, plan, from, until, remark }])
        }
    }
}

/// Takes an event in. Total: any event in any state.
pub fn evolve(grant: &mut Grant, event: &GrantEvent) {
    let given = event.given();
    if let GrantEvent::AccessGranted { remark, .. } = event {
        grant.first = Some((given.clone(), remark.clone()));
    }
    grant.revoked = event.is_revocation();
    grant.given = Some(given);
}

impl GrantEvent {
    /// What is given from this event on, or was until it was taken back.
    pub fn given(&self) -> Given {
        let (Self::AccessGranted { member, plan, from, until, .. }
        | Self::GrantExtended { member, plan, from, until, .. }
        | Self::GrantRevoked { member, plan, from, until, .. }) = self;
        Given { member: member.clone(), plan: plan.clone(), from: *from, until: *until }
    }

    /// Why, in words beside the log.
    pub fn remark(&self) -> &RemarkId {
        let (Self::AccessGranted { remark, .. }
        | Self::GrantExtended { remark, .. }
        | Self::GrantRevoked { remark, .. }) = self;
        remark
    }

    /// Whether it takes the grant back.
    pub fn is_revocation(&self) -> bool {
        matches!(self, Self::GrantRevoked { .. })
    }

    /// The name it is stored under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AccessGranted { .. } => "AccessGranted",
            Self::GrantExtended { .. } => "GrantExtended",
            Self::GrantRevoked { .. } => "GrantRevoked",
        }
    }
}

impl DomainEvent for GrantEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Dated for GrantEvent {
    fn occurred_at(&self) -> Option<DateTime<Utc>> {
        None
    }
}

impl Aggregate for Grant {
    const TYPE: &'static str = "grant";
    type Command = GrantCommand;
    type Event = GrantEvent;
    type Error = GrantError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _services: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in decide(self, command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        evolve(self, &event);
    }
}

#[cfg(test)]
mod tests {
    use chrono::Duration;
    use cqrs_es::test::TestFramework;

    use super::*;

    fn at(days: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::days(days)
    }

    fn give(member: &str, until: Option<i64>) -> GrantCommand {
        let (plan, remark) = ("basic".into(), "rmk_1".into());
        GrantCommand::Give { member: member.into(), plan, from: at(10), until: until.map(at), remark }
    }

    fn given(until: Option<i64>) -> GrantEvent {
        let (member, plan, remark) = ("mem_a".into(), "basic".into(), "rmk_1".into());
        GrantEvent::AccessGranted { member, plan, from: at(10), until: until.map(at), remark }
    }

    fn end(until: Option<i64>) -> GrantCommand {
        GrantCommand::Move { until: until.map(at), remark: "rmk_2".into() }
    }

    fn moved(was: Option<i64>, until: Option<i64>) -> GrantEvent {
        let (member, plan, remark) = ("mem_a".into(), "basic".into(), "rmk_2".into());
        let (was_until, until) = (was.map(at), until.map(at));
        GrantEvent::GrantExtended { member, plan, from: at(10), was_until, until, remark }
    }

    fn revoke() -> GrantCommand {
        GrantCommand::Revoke { remark: "rmk_3".into() }
    }

    fn revoked(until: Option<i64>) -> GrantEvent {
        let (member, plan, remark) = ("mem_a".into(), "basic".into(), "rmk_3".into());
        GrantEvent::GrantRevoked { member, plan, from: at(10), until: until.map(at), remark }
    }

    fn grant(history: Vec<GrantEvent>) -> cqrs_es::test::AggregateTestExecutor<Grant> {
        TestFramework::<Grant>::with(()).given(history)
    }

    #[test]
    fn a_grant_is_given_moved_and_revoked_and_no_command_does_anything_twice() {
        let all = || vec![given(Some(20)), moved(Some(20), None), revoked(None)];
        for (known, command) in (0..).zip([give("mem_a", Some(20)), end(None), revoke()]) {
            let before = all()[..known].to_vec();
            grant(before).when(command.clone()).then_expect_events(vec![all()[known].clone()]);
            grant(all()[..=known].to_vec()).when(command).then_expect_events(vec![]);
        }
        grant(all()).when(give("mem_a", Some(20))).then_expect_events(vec![]);
    }

    #[test]
    fn an_end_may_be_moved_to_an_earlier_moment() {
        grant(vec![given(None)]).when(end(Some(11))).then_expect_events(vec![moved(None, Some(11))]);
    }

    #[test]
    fn a_grant_that_would_end_before_it_begins_is_refused() {
        let refused = || GrantError::EndsBeforeItBegins { from: at(10) };
        for until in [9, 10] {
            grant(vec![]).when(give("mem_a", Some(until))).then_expect_error(refused());
            grant(vec![given(None)]).when(end(Some(until))).then_expect_error(refused());
        }
    }

    #[test]
    fn what_was_never_given_is_neither_moved_nor_revoked() {
        grant(vec![]).when(end(None)).then_expect_error(GrantError::NotGiven);
        grant(vec![]).when(revoke()).then_expect_error(GrantError::NotGiven);
    }

    #[test]
    fn what_was_revoked_stays_so() {
        let history = || vec![given(Some(20)), revoked(Some(20))];
        grant(history()).when(end(Some(30))).then_expect_error(GrantError::AlreadyRevoked);
    }

    #[test]
    fn an_id_is_not_used_again_with_other_contents() {
        let taken = || GrantError::GivenToAnother("mem_a".into());
        grant(vec![given(Some(20))]).when(give("mem_b", Some(20))).then_expect_error(taken());
        grant(vec![given(Some(20))]).when(give("mem_a", Some(21))).then_expect_error(taken());
        let history = vec![given(Some(20)), moved(Some(20), Some(21))];
        grant(history).when(give("mem_a", Some(21))).then_expect_error(taken());
    }

    #[test]
    fn moments_are_kept_to_the_microsecond_so_that_a_repetition_is_known_again() {
        let from = DateTime::from_timestamp(1_700_000_000, 123_456_789).unwrap();
        let (member, plan, remark) = ("mem_a".into(), "basic".into(), "rmk_1".into());
        let command = GrantCommand::Give { member, plan, from, until: None, remark };
        let events = decide(&Grant::default(), command.clone()).unwrap();
        assert_eq!(events[0].given().from.timestamp_subsec_nanos(), 123_456_000);
        let mut grant = Grant::default();
        evolve(&mut grant, &events[0]);
        assert_eq!(decide(&grant, command), Ok(vec![]));
    }
}
