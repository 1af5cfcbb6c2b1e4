//! Calendar and agenda: how periods are counted, and what falls due next.

use chrono::{DateTime, Days, Months, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// A moment in unix seconds, as Stripe writes it; or a length of time.
pub type Seconds = i64;

pub(crate) const HOUR: Seconds = 3_600;
pub(crate) const DAY: Seconds = 24 * HOUR;
/// The longest that anybody who steers may ask for at once: ten years.
pub(crate) const FARTHEST: Seconds = 3_653 * DAY;
/// How far ahead Stripe lets a date be: five years.
const HORIZON: Seconds = 1_827 * DAY;
/// The longest trial in days, with Stripe.
pub(crate) const TRIAL_DAYS: i64 = 730;

/// Refuses a moment that is none, or that is too far ahead of `now`.
pub(super) fn in_reach(now: Seconds, moment: Option<Seconds>, param: &str) -> Result<(), ApiError> {
    match moment {
        Some(..1) => Err(ApiError::invalid("Invalid timestamp: must be an integer Unix timestamp").at(param)),
        Some(moment) if moment > now.saturating_add(HORIZON) => {
            let why = "Invalid timestamp: can be no more than five years in the future";
            Err(ApiError::invalid(why).at(param))
        }
        _ => Ok(()),
    }
}

/// Refuses the end of a trial that is over already or lasts too long.
pub(super) fn trial_in_reach(now: Seconds, end: Option<Seconds>) -> Result<(), ApiError> {
    in_reach(now, end, "trial_end")?;
    let why = match end {
        Some(end) if end <= now => "trial_end must be in the future.",
        Some(end) if end - now > TRIAL_DAYS * DAY => {
            "Invalid trial_end: a trial can last two years (730 days) at most"
        }
        _ => return Ok(()),
    };
    Err(ApiError::invalid(why).at("trial_end"))
}

/// From one moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Period {
    pub(crate) start: Seconds,
    pub(crate) end: Seconds,
}

/// The unit that a price recurs by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// How many of them Stripe takes for one period: three years.
    fn most(self) -> u32 {
        match self {
            Self::Day => 1_095,
            Self::Week => 156,
            Self::Month => 36,
            Self::Year => 3,
        }
    }
}

/// How often a price recurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interval {
    pub(crate) unit: Unit,
    pub(crate) count: u32,
}

impl Interval {
    /// What is wrong with it, if anything.
    pub(super) fn mistake(self) -> Option<ApiError> {
        let most = self.unit.most();
        (!(1..=most).contains(&self.count)).then(|| {
            let unit = self.unit.name();
            let why = format!("Invalid interval_count: at least 1 and at most three years ({most} {unit}s)");
            ApiError::invalid(why).at("recurring[interval_count]")
        })
    }

    /// The moment `times` intervals after `anchor`. Counted from the anchor, so that the 31st comes back after February.
    pub(crate) fn after(self, anchor: Seconds, times: u32) -> Seconds {
        let count = self.count.saturating_mul(times);
        let from = DateTime::<Utc>::from_timestamp(anchor, 0).unwrap_or_default();
        let moved = match self.unit {
            Unit::Day => from.checked_add_days(Days::new(count.into())),
            Unit::Week => from.checked_add_signed(TimeDelta::weeks(count.into())),
            Unit::Month => from.checked_add_months(Months::new(count)),
            Unit::Year => from.checked_add_months(Months::new(count.saturating_mul(12))),
        };
        moved.map_or(Seconds::MAX, |moment| moment.timestamp())
    }

    /// The period that holds `moment`, counted from `anchor`.
    pub(crate) fn period_at(self, anchor: Seconds, moment: Seconds) -> Period {
        let mut times = 1;
        let mut start = anchor;
        loop {
            let end = self.after(anchor, times);
            // Where the calendar ends there is nothing after it to look for.
            if end > moment || end == Seconds::MAX {
                return Period { start, end };
            }
            (start, times) = (end, times + 1);
        }
    }
}

/// What may fall due. In this order when at the same moment: a schedule changes what the next period costs before the
/// period begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Due {
    Payment(String),
    Schedule(String),
    Subscription(String),
    Invoice(String),
    Session(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Seconds {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp()
    }

    #[test]
    fn months_are_counted_from_the_anchor() {
        let monthly = Interval { unit: Unit::Month, count: 1 };
        let anchor = at("2027-01-31T10:00:00Z");
        let ends: Vec<_> = (1..=3).map(|times| monthly.after(anchor, times)).collect();
        let expected = ["2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z", "2027-04-30T10:00:00Z"].map(at);
        assert_eq!(ends, expected);
        assert_eq!(monthly.after(at("2028-01-31T10:00:00Z"), 1), at("2028-02-29T10:00:00Z"));
        assert_eq!(
            Interval { unit: Unit::Year, count: 1 }.after(at("2028-02-29T00:00:00Z"), 1),
            at("2029-02-28T00:00:00Z")
        );
    }

    #[test]
    fn a_period_holds_its_start_and_not_its_end() {
        let monthly = Interval { unit: Unit::Month, count: 1 };
        let anchor = at("2027-01-31T10:00:00Z");
        let february = Period { start: anchor, end: at("2027-02-28T10:00:00Z") };
        assert_eq!(monthly.period_at(anchor, anchor), february);
        assert_eq!(monthly.period_at(anchor, february.end - 1), february);
        assert_eq!(monthly.period_at(anchor, february.end).start, february.end);
    }

    #[test]
    fn a_period_ends_even_where_the_calendar_does() {
        let endless = Interval { unit: Unit::Year, count: u32::MAX };
        assert_eq!(endless.period_at(0, Seconds::MAX), Period { start: 0, end: Seconds::MAX });
        let yearly = Interval { unit: Unit::Year, count: 3 };
        assert_eq!(yearly.period_at(0, Seconds::MAX).end, Seconds::MAX);
    }
}
