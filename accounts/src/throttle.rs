//! How many attempts there may be, and how long to wait between them. The stores count; the rules are here.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Somebody waits no longer than this.
const LONGEST: TimeDelta = TimeDelta::minutes(15);

/// What only something else than time clears is kept for this long after the last attempt.
const KEPT: TimeDelta = TimeDelta::days(30);

/// What is counted, by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Its name. Holds hashes in place of what is personal.
    pub key: String,
    /// The rule.
    pub rule: Rule,
}

/// How attempts are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// So many are free; after each further one there is a wait twice as long as before. A day without any forgets them.
    Delays {
        /// How many.
        free: u32,
    },
    /// No more than this, until something clears it.
    Consecutive {
        /// How many.
        most: u32,
    },
    /// No more than this within a time.
    Within {
        /// How many.
        most: u32,
        /// The time.
        window: TimeDelta,
    },
}

/// What has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub count: u32,
    /// Since when, for a rule with a window; else when the last one was.
    pub since: DateTime<Utc>,
    /// No other before this.
    pub until: DateTime<Utc>,
}

/// An attempt is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// How long to wait; none when waiting does not help.
    pub retry_after: Option<Duration>,
}

impl Rule {
    /// Counts an attempt at `now`, or refuses it. A clock that was set back does not make anybody wait for longer than the
    /// longest wait.
    pub fn attempt(self, held: Option<Count>, now: DateTime<Utc>) -> Result<Count, Refused> {
        let wait = |time: TimeDelta| Refused { retry_after: Some(time.to_std().unwrap_or_default()) };
        match self {
            Self::Delays { free } => {
                let held = held.filter(|held| (now - held.since).abs() < TimeDelta::days(1));
                let until = held.map_or(now, |held| held.until);
                if until > now && until - now <= LONGEST {
                    return Err(wait(until - now));
                }
                let count = held.map_or(0, |held| held.count).saturating_add(1);
                Ok(Count { count, since: now, until: now + delay(count, free) })
            }
            Self::Consecutive { most } => match held.map_or(0, |held| held.count) {
                count if count >= most => Err(Refused { retry_after: None }),
                count => Ok(Count { count: count + 1, since: now, until: now + KEPT }),
            },
            Self::Within { most, window } => {
                match held.filter(|held| now >= held.since && now - held.since < window) {
                    Some(held) if held.count >= most => Err(wait(held.since + window - now)),
                    Some(held) => Ok(Count { count: held.count + 1, ..held }),
                    None => Ok(Count { count: 1, since: now, until: now + window }),
                }
            }
        }
    }
}

/// How long to wait after the attempt of this number.
fn delay(count: u32, free: u32) -> TimeDelta {
    match count.checked_sub(free) {
        None => TimeDelta::zero(),
        Some(over) => TimeDelta::seconds(1_i64 << over.min(20)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    /// The waits after each of so many attempts, each made as soon as it may be.
    fn waits(rule: Rule, attempts: usize) -> Vec<i64> {
        let (mut held, mut now, mut waits) = (None, at(0), Vec::new());
        for _ in 0..attempts {
            let count = rule.attempt(held, now).expect("it waited long enough");
            waits.push((count.until - now).num_seconds());
            (held, now) = (Some(count), count.until);
        }
        waits
    }

    #[test]
    fn waits_grow_from_the_fifth_attempt_to_a_quarter_of_an_hour() {
        let waits = waits(Rule::Delays { free: 5 }, 20);
        assert_eq!(waits[..8], [0, 0, 0, 0, 1, 2, 4, 8]);
        assert_eq!(waits[14..], [900; 6]);
    }

    #[test]
    fn who_comes_too_early_is_told_how_long_to_wait_and_waits_no_longer_for_it() {
        let rule = Rule::Delays { free: 1 };
        let held = rule.attempt(None, at(0)).unwrap();
        let refused = rule.attempt(Some(held), at(0) + TimeDelta::milliseconds(400)).unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_millis(600)));
        assert!(rule.attempt(Some(held), at(1)).is_ok());
    }

    #[test]
    fn a_day_without_attempts_and_a_clock_set_far_back_forget_them() {
        let rule = Rule::Delays { free: 5 };
        let held = Count { count: 50, since: at(0), until: at(900) };
        assert_eq!(rule.attempt(Some(held), at(86_400)).unwrap().count, 1);
        assert_eq!(rule.attempt(Some(held), at(-86_400)).unwrap().count, 1);
        assert_eq!(rule.attempt(Some(held), at(-3_600)).unwrap().count, 51);
    }

    #[test]
    fn where_waiting_does_not_help_none_is_told() {
        let rule = Rule::Consecutive { most: 2 };
        let held = |count| Some(Count { count, since: at(0), until: at(0) });
        assert_eq!(rule.attempt(held(1), at(1)).unwrap().count, 2);
        assert_eq!(rule.attempt(held(2), at(999_999)), Err(Refused { retry_after: None }));
    }

    #[test]
    fn a_window_lets_so_many_through_and_then_the_next_window() {
        let rule = Rule::Within { most: 2, window: TimeDelta::hours(1) };
        let first = rule.attempt(None, at(0)).unwrap();
        let second = rule.attempt(Some(first), at(10)).unwrap();
        let refused = rule.attempt(Some(second), at(20)).unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_secs(3_580)));
        assert_eq!(rule.attempt(Some(second), at(3_600)).unwrap().count, 1);
    }
}
