//! Sessions that ended while an access token of theirs may still be about.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use domain::account::AccountEvent;
use domain::events::Event;
use domain::ids::SessionId;
use domain::ports::Recorded;
use serde::{Deserialize, Serialize};

use super::Key;

/// Longer than any access token lives, in microseconds: an hour, by the time that the log tells. Other processes' clocks may
/// differ.
const KEPT: i64 = 3_600_000_000;
/// How often what is older is dropped.
const STEP: i64 = KEPT / 6;

/// What readers see of them, and by how much it is to be forgotten.
#[derive(Default)]
pub(super) struct Revoked {
    /// When each was recorded to have ended, or the latest moment then, if that was later.
    sessions: papaya::HashMap<Key, i64>,
    /// The latest moment that the log has told, as far as it is to be believed.
    latest: AtomicI64,
}

/// The same as it is kept in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct StoredRevoked {
    latest: i64,
    sessions: Vec<(Key, i64)>,
}

impl Revoked {
    /// One look-up, no lock.
    pub(super) fn contains(&self, session: &SessionId) -> bool {
        self.sessions.pin().contains_key(&Key::of_session(session))
    }

    /// Takes an event of the log in. Only the one follower of the log calls this.
    pub(super) fn take_in(&self, recorded: &Recorded, event: &Event) {
        let at = micros(recorded.metadata.recorded_at);
        let before = self.latest.load(Ordering::Relaxed);
        // An event of a clock that is far ahead moves the time on by a step, so that it makes nothing be forgotten too soon.
        let latest = if before == 0 { at } else { at.clamp(before, before.saturating_add(STEP)) };
        self.latest.store(latest, Ordering::Relaxed);
        if let Event::Account(_, AccountEvent::SessionRevoked { session, .. }) = event {
            self.sessions.pin().insert(Key::of_session(session), at.max(latest));
        }
        if before.div_euclid(STEP) < latest.div_euclid(STEP) {
            let oldest = self.oldest();
            self.sessions.pin().retain(|_, at| *at >= oldest);
        }
    }

    pub(super) fn stored(&self) -> StoredRevoked {
        let oldest = self.oldest();
        let sessions = self.sessions.pin();
        let mut sessions: Vec<_> = sessions.iter().map(|(session, at)| (*session, *at)).collect();
        sessions.retain(|(_, at)| *at >= oldest);
        sessions.sort_unstable();
        StoredRevoked { latest: self.latest.load(Ordering::Relaxed), sessions }
    }

    pub(super) fn fill(&self, stored: StoredRevoked) {
        self.latest.store(stored.latest, Ordering::Relaxed);
        let sessions = self.sessions.pin();
        for (session, at) in stored.sessions {
            sessions.insert(session, at);
        }
    }

    fn oldest(&self) -> i64 {
        self.latest.load(Ordering::Relaxed).saturating_sub(KEPT)
    }
}

fn micros(moment: DateTime<Utc>) -> i64 {
    moment.timestamp_micros()
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use domain::account::RevokedBecause;
    use domain::metadata::Metadata;
    use domain::ports::Position;

    use super::*;

    fn at(revoked: &Revoked, minute: i64, event: &AccountEvent) {
        let moment = DateTime::from_timestamp(minute * 60, 0).unwrap();
        let recorded = Recorded {
            position: Position::START,
            aggregate_type: "account".to_owned(),
            aggregate_id: "mem_ada".to_owned(),
            sequence: 1,
            event_type: event.name().to_owned(),
            event_version: "1".to_owned(),
            payload: serde_json::Value::Null,
            metadata: Metadata { recorded_at: moment, ..Metadata::unknown() },
            garbled: None,
        };
        revoked.take_in(&recorded, &Event::Account("mem_ada".into(), event.clone()));
    }

    fn pass(revoked: &Revoked, minutes: RangeInclusive<i64>) {
        minutes.for_each(|minute| at(revoked, minute, &AccountEvent::EmailChanged));
    }

    fn ended(number: i64) -> (SessionId, AccountEvent) {
        let session = SessionId::from(format!("ses_{number}"));
        (session.clone(), AccountEvent::SessionRevoked { session, why: RevokedBecause::SignedOut })
    }

    #[test]
    fn a_session_that_ended_is_known_as_such_until_no_access_token_of_it_is_left() {
        let revoked = Revoked::default();
        let (session, event) = ended(1);
        assert!(!revoked.contains(&session));
        at(&revoked, 1_000, &event);
        assert!(revoked.contains(&session));
        pass(&revoked, 1_001..=1_059);
        assert!(revoked.contains(&session));
        pass(&revoked, 1_060..=1_071);
        assert!(!revoked.contains(&session));
    }

    #[test]
    fn as_many_are_kept_as_end_in_an_hour_or_so_and_of_old_ones_none() {
        let revoked = Revoked::default();
        for number in 0..10_000 {
            at(&revoked, number, &ended(number).1);
            assert!(revoked.contains(&ended(number).0));
        }
        assert!(revoked.sessions.len() <= 71, "{}", revoked.sessions.len());
        at(&revoked, 5, &ended(-1).1);
        assert!(revoked.contains(&ended(-1).0), "a clock that is behind may have recorded it just now");
        assert!(revoked.contains(&ended(9_999).0), "a clock that was set back forgets nothing");
        pass(&revoked, 10_000..=10_071);
        assert_eq!(revoked.sessions.len(), 0);
    }

    #[test]
    fn a_clock_that_is_far_ahead_makes_no_ended_session_count_again() {
        let revoked = Revoked::default();
        at(&revoked, 1_000, &ended(1).1);
        at(&revoked, 1_000_000, &AccountEvent::EmailChanged);
        assert!(revoked.contains(&ended(1).0), "it ended just before");
        at(&revoked, 1_001, &ended(2).1);
        assert!(revoked.contains(&ended(2).0), "it ended just after");
        pass(&revoked, 1_002..=1_049);
        assert!(revoked.contains(&ended(1).0) && revoked.contains(&ended(2).0));
        pass(&revoked, 1_050..=1_081);
        assert!(
            !revoked.contains(&ended(1).0) && !revoked.contains(&ended(2).0),
            "they are not kept for ever"
        );
    }

    #[test]
    fn after_a_quiet_night_a_session_that_ends_is_known_however_much_happens_then() {
        let revoked = Revoked::default();
        at(&revoked, 1_000, &AccountEvent::EmailChanged);
        at(&revoked, 2_000, &ended(1).1);
        for _ in 0..1_000 {
            at(&revoked, 2_001, &AccountEvent::EmailChanged);
        }
        assert!(revoked.contains(&ended(1).0));
    }
}
