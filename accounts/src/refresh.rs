//! What presenting a refresh token means. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::secrets::same;
use crate::store::{Hash, SessionRecord};

/// How long the token before the present one is honoured in any case: two tabs that renew at the same moment are one browser.
pub(crate) const OVERLAP: TimeDelta = TimeDelta::seconds(30);

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presented {
    /// It is the present one: make the next.
    Present,
    /// It is the one before, spent at this moment: give the same answer again.
    JustSpent,
    /// It is the one before, and nothing of the answer that it was worth was ever used: that may not have arrived. Make another
    /// in its place, so that whoever has got it after all is noticed when it comes.
    Lost,
    /// It was spent, and what it was worth is in use: two have it, and one of them is not its owner.
    Reused,
}

/// A token of the family of `session` is presented, known within it by `hash`.
pub(crate) fn judge(session: &SessionRecord, hash: &Hash, now: DateTime<Utc>) -> Presented {
    if same(&session.current, hash) {
        return Presented::Present;
    }
    let before = session.previous.is_some_and(|previous| same(&previous, hash));
    let just_now = (now - session.rotated_at).abs() < OVERLAP;
    let answer_unused = session.seen < session.generation;
    match before {
        true if just_now => Presented::JustSpent,
        true if answer_unused => Presented::Lost,
        _ => Presented::Reused,
    }
}

/// Whether nobody has renewed it for too long, or it has reached its end.
pub(crate) fn has_expired(session: &SessionRecord, idle: TimeDelta, now: DateTime<Utc>) -> bool {
    now >= session.expires_at || now - session.rotated_at >= idle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    /// Token 2 is the present one, token 1 was spent at 0.
    fn session(seen: u32) -> SessionRecord {
        SessionRecord {
            id: "ses_1".into(),
            member: "mem_ada".into(),
            family: [9; 32],
            current: [2; 32],
            previous: Some([1; 32]),
            salt: [0; 32],
            generation: 2,
            seen,
            created_at: at(-60),
            rotated_at: at(0),
            expires_at: at(1_000),
            device: None,
            network: None,
        }
    }

    #[test]
    fn the_present_token_is_worth_the_next() {
        assert_eq!(judge(&session(2), &[2; 32], at(999)), Presented::Present);
    }

    #[test]
    fn tabs_that_renew_at_once_are_given_the_same() {
        assert_eq!(judge(&session(2), &[1; 32], at(29)), Presented::JustSpent);
        assert_eq!(
            judge(&session(2), &[1; 32], at(-29)),
            Presented::JustSpent,
            "on a clock set back a little"
        );
    }

    #[test]
    fn for_an_answer_that_was_lost_there_is_another_however_late() {
        assert_eq!(judge(&session(1), &[1; 32], at(900)), Presented::Lost);
    }

    #[test]
    fn a_spent_token_whose_answer_is_in_use_is_stolen() {
        assert_eq!(judge(&session(2), &[1; 32], at(30)), Presented::Reused);
    }

    #[test]
    fn a_token_older_than_the_one_before_is_stolen_at_once() {
        assert_eq!(judge(&session(1), &[0; 32], at(0)), Presented::Reused);
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it_and_at_its_end() {
        assert!(!has_expired(&session(2), TimeDelta::seconds(500), at(499)));
        assert!(has_expired(&session(2), TimeDelta::seconds(500), at(500)));
        assert!(has_expired(&session(2), TimeDelta::seconds(5_000), at(1_000)));
    }
}
