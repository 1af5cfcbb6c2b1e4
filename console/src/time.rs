//! Moments and lengths of time as the pages write them.

use std::fmt;

use askama::filters::HtmlSafe;
use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};

/// A moment, written for people and for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl Moment {
    /// As a query has it.
    pub(crate) fn query(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }

    /// In words without markup.
    pub(crate) fn text(self) -> String {
        self.0.trunc_subsecs(0).format("%-d %b %Y %H:%M:%S UTC").to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<time datetime=\"{}\">{}</time>", self.query(), self.text())
    }
}

// Made of digits and names of months alone.
impl HtmlSafe for Moment {}

/// A length of time in its two largest units, such as `3 days 2 h`.
pub(crate) fn length(time: TimeDelta) -> String {
    let seconds = time.num_seconds().abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds % 86_400 / 3_600, seconds % 3_600 / 60);
    let days_in_words = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", seconds % 60),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, ..) => format!("{hours} h {minutes} min"),
        (_, 0, _) => days_in_words,
        _ => format!("{days_in_words} {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_says_its_zone_and_is_readable_by_programs() {
        let moment = Moment(DateTime::from_timestamp(1_777_803_240, 123_000_000).unwrap());
        let html = "<time datetime=\"2026-05-03T10:14:00.123Z\">3 May 2026 10:14:00 UTC</time>";
        assert_eq!(moment.to_string(), html);
    }

    #[test]
    fn a_length_of_time_is_told_in_its_two_largest_units() {
        let told = |seconds| length(TimeDelta::seconds(seconds));
        assert_eq!(told(59), "59 s");
        assert_eq!(told(-61), "1 min");
        assert_eq!(told(3_600), "1 h");
        assert_eq!(told(5_400), "1 h 30 min");
        assert_eq!(told(86_400), "1 day");
        assert_eq!(told(3 * 86_400 + 7_200), "3 days 2 h");
    }
}
