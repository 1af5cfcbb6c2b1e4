//! A member's history as a picture: what was open, what she had, what she paid. Drawn here, so that it can be read, printed and
//! used with a keyboard.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use domain::ids::{MemberId, PlanId};
use domain::ports::Position;
use projections::past::{EntryKind, Group, MemberState, SourceKind};
use projections::timeline::TimelineEntry;

use super::When;
use crate::time::Moment;

/// The height of a lane, and where its marks are.
const LANE: u32 = 38;
const MIDDLE: u32 = 27;
const TOP: u32 = 8;
/// More lanes than these of one kind are not drawn.
const MOST_LANES: usize = 6;
/// More dots than these on one lane are drawn without links, which would be too many to go through, and those that would lie upon
/// each other as one: so many have a place.
const MOST_LINKS: usize = 60;
const PLACES: i64 = 50;
/// How many names of months fit.
const TICKS: i32 = 4;

/// The whole picture.
pub(super) struct Lanes {
    pub(super) rows: Vec<Lane>,
    pub(super) ticks: Vec<Tick>,
    pub(super) now: String,
    pub(super) as_of: Option<String>,
    pub(super) height: u32,
    /// How many lanes did not fit.
    pub(super) left_out: usize,
}

/// One line of it.
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) y: u32,
    pub(super) bars: Vec<Bar>,
    pub(super) dots: Vec<Dot>,
}

impl Lane {
    pub(super) fn label_y(&self) -> u32 {
        self.y + 12
    }

    pub(super) fn rail_y(&self) -> u32 {
        self.y + MIDDLE
    }

    pub(super) fn bar_y(&self) -> u32 {
        self.y + MIDDLE - 5
    }
}

/// Something that lasted.
pub(super) struct Bar {
    pub(super) x: String,
    pub(super) width: String,
    pub(super) class: &'static str,
    pub(super) title: String,
    pub(super) link: Option<String>,
}

/// Something that happened.
pub(super) struct Dot {
    pub(super) x: String,
    pub(super) class: &'static str,
    pub(super) title: String,
    pub(super) link: Option<String>,
}

/// A day on the line of time.
pub(super) struct Tick {
    pub(super) x: String,
    pub(super) name: String,
}

/// The time that is drawn.
#[derive(Clone, Copy)]
struct Span {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl Span {
    #[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
    fn share(self, moment: DateTime<Utc>) -> f64 {
        let whole = (self.until - self.from).num_seconds().max(1) as f64;
        let part = (moment - self.from).num_seconds() as f64;
        (part / whole * 100.0).clamp(0.0, 100.0)
    }

    /// Which of the places it is at that dots have beside each other.
    fn place(self, moment: DateTime<Utc>) -> i64 {
        let (whole, part) = ((self.until - self.from).num_seconds().max(1), moment - self.from);
        part.num_seconds().saturating_mul(PLACES) / whole
    }

    fn x(self, moment: DateTime<Utc>) -> String {
        format!("{:.2}%", self.share(moment))
    }

    fn ticks(self) -> Vec<Tick> {
        let first = |day: NaiveDate| day.with_day(1).unwrap_or(day);
        let (from, until) = (self.from.date_naive(), self.until.date_naive());
        let months =
            (until.year() - from.year()) * 12 + until.month().cast_signed() - from.month().cast_signed();
        let step = Months::new(u32::try_from(months / TICKS + 1).unwrap_or(1));
        let mut days = Vec::new();
        let mut day = first(from) + Months::new(1);
        while day <= until {
            days.push(day);
            day = day + step;
        }
        let tick = |day: NaiveDate| {
            let moment = day.and_hms_opt(0, 0, 0)?.and_utc();
            // A name at the edge would be cut off.
            let fits = self.share(moment) < 88.0;
            fits.then(|| Tick { x: self.x(moment), name: day.format("%b %Y").to_string() })
        };
        days.into_iter().filter_map(tick).collect()
    }
}

/// A stretch of something, with the event that began it.
struct Stretch {
    from: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    class: &'static str,
    words: String,
    position: Option<Position>,
}

impl Lanes {
    pub(super) fn of(
        member: &MemberId,
        entries: &[TimelineEntry],
        groups: &[Group],
        state: &MemberState,
        when: &When,
    ) -> Self {
        // Years before she bought anything would only make everything else small.
        let drawn = entries.iter().filter(|entry| entry.kind != EntryKind::Account);
        let first = drawn.map(|entry| entry.occurred_at).min().unwrap_or(when.now);
        let from = first.min(when.as_of().at);
        // Room to the right for what is to come.
        let length = (when.now - from).max(TimeDelta::days(1));
        let span = Span { from: from - length / 50, until: when.now + length / 12 };
        let link = |position: Option<Position>| {
            position.map(|position| format!("/console/members/{member}/events/{position}"))
        };
        let mut rows: Vec<(String, Vec<Stretch>)> = Vec::new();
        rows.push(("Access".to_owned(), access(groups)));
        let mut subscriptions: BTreeMap<&str, Vec<&TimelineEntry>> = BTreeMap::new();
        for entry in entries {
            if let Some(id) = entry.stream.strip_prefix("subscription/") {
                subscriptions.entry(id).or_default().push(entry);
            }
        }
        let mut bought: Vec<(String, Vec<Stretch>)> =
            subscriptions.into_iter().map(|(id, entries)| (id.to_owned(), subscription(&entries))).collect();
        bought.retain(|(_, stretches)| !stretches.is_empty());
        bought.sort_by_key(|(_, stretches)| stretches[0].from);
        let given = state.sources.iter().filter(|source| !matches!(source.kind, SourceKind::Subscription));
        let given = given.filter_map(|source| {
            let stream = format!("{}/{}", source.kind.as_str(), source.id);
            let began = entries.iter().find(|entry| entry.stream == stream).map(|entry| entry.position);
            let (class, words) = ("given", format!("Given: {}", source.sentence));
            let stretch = Stretch { from: source.from?, until: source.until, class, words, position: began };
            let plans: Vec<&str> = source.plans.iter().map(PlanId::as_str).collect();
            Some((format!("Grant of {}", plans.join(", ")), vec![stretch]))
        });
        let left_out = bought.len().saturating_sub(MOST_LANES);
        rows.extend(bought.into_iter().skip(left_out));
        rows.extend(given.take(MOST_LANES));
        let mut lanes = Vec::new();
        let place = |lanes: &Vec<Lane>| TOP + LANE * u32::try_from(lanes.len()).unwrap_or(0);
        for (name, stretches) in rows {
            let bars = stretches.iter().filter_map(|stretch| bar(stretch, span, when.now, &link));
            lanes.push(Lane { name, y: place(&lanes), bars: bars.collect(), dots: Vec::new() });
        }
        for (name, kind) in [("Payments", EntryKind::Payments), ("Staff", EntryKind::Staff)] {
            let of_kind: Vec<_> = entries.iter().filter(|entry| is_drawn(entry, kind)).collect();
            if of_kind.is_empty() {
                continue;
            }
            let dots =
                if of_kind.len() > MOST_LINKS { merged(&of_kind, span) } else { each(&of_kind, span, &link) };
            lanes.push(Lane { name: name.to_owned(), y: place(&lanes), bars: Vec::new(), dots });
        }
        let height = place(&lanes) + 22;
        Self {
            rows: lanes,
            ticks: span.ticks(),
            now: span.x(when.now),
            as_of: when.at.map(|at| span.x(at)),
            height,
            left_out,
        }
    }

    pub(super) fn foot(&self) -> u32 {
        self.height - 20
    }

    pub(super) fn words_y(&self) -> u32 {
        self.height - 6
    }
}

/// A dot for each event.
fn each(
    entries: &[&TimelineEntry],
    span: Span,
    link: &impl Fn(Option<Position>) -> Option<String>,
) -> Vec<Dot> {
    let dots = entries.iter().map(|entry| Dot {
        x: span.x(entry.occurred_at),
        class: tone(&entry.event_type),
        title: format!("{}: {}", Moment(entry.occurred_at).text(), entry.with_remark()),
        link: link(Some(entry.position)),
    });
    dots.collect()
}

/// A dot for all events of one colour that would lie upon each other: there are never more than fit.
fn merged(entries: &[&TimelineEntry], span: Span) -> Vec<Dot> {
    let mut places: BTreeMap<(i64, &'static str), Vec<&TimelineEntry>> = BTreeMap::new();
    for entry in entries {
        places.entry((span.place(entry.occurred_at), tone(&entry.event_type))).or_default().push(entry);
    }
    let day = |entry: &TimelineEntry| entry.occurred_at.format("%-d %b %Y").to_string();
    let dots = places.into_iter().map(|((_, class), entries)| {
        let (first, last) = (entries[0], entries[entries.len() - 1]);
        let title = match entries.len() {
            1 => format!("{}: {}", day(first), first.with_remark()),
            count => format!("{count} events from {} to {}", day(first), day(last)),
        };
        Dot { x: span.x(first.occurred_at), class, title, link: None }
    });
    dots.collect()
}

fn is_drawn(entry: &TimelineEntry, kind: EntryKind) -> bool {
    match kind {
        // Who read what is in the list.
        EntryKind::Staff => entry.is_by_staff() && entry.event_type != "StaffRead",
        EntryKind::Payments => is_money(&entry.event_type),
        _ => false,
    }
}

fn is_money(event_type: &str) -> bool {
    matches!(
        event_type,
        "PaymentReceived"
            | "PaymentRecovered"
            | "PaymentFailed"
            | "PaymentActionRequired"
            | "PaymentRefunded"
            | "PaymentPartlyRefunded"
            | "RefundFailed"
            | "PaymentQuestioned"
            | "DisputeOpened"
            | "DisputeClosed"
    )
}

/// The colour of an event.
fn tone(event_type: &str) -> &'static str {
    match event_type {
        "PaymentReceived" | "PaymentRecovered" | "DisputeClosed" => "open",
        "PaymentFailed" | "DisputeOpened" => "shut",
        "PaymentActionRequired" | "PaymentQuestioned" | "RefundFailed" => "grace",
        "AccessGranted" | "GrantExtended" | "GrantRevoked" | "GraceExtended" => "given",
        _ => "",
    }
}

/// What was open, as this service knew it at the time.
fn access(groups: &[Group]) -> Vec<Stretch> {
    let mut changes: Vec<&Group> = groups.iter().filter(|group| group.access.is_some()).collect();
    changes.sort_by_key(|group| group.recorded_at);
    let mut stretches: Vec<Stretch> = Vec::new();
    for group in changes {
        let Some(change) = &group.access else { continue };
        if let Some(last) = stretches.last_mut() {
            last.until = last.until.or(Some(group.recorded_at));
        }
        if !change.after.is_empty() {
            let class = if change.sentence.contains("grace") {
                "grace"
            } else if change.sentence.contains("trial") {
                "trial"
            } else {
                "open"
            };
            let position = group.entries.first().map(|entry| entry.position);
            let words = change.sentence.clone();
            stretches.push(Stretch { from: group.recorded_at, until: None, class, words, position });
        }
    }
    stretches
}

/// Where a subscription stood, from event to event.
fn subscription(entries: &[&TimelineEntry]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for entry in entries {
        let class = match entry.event_type.as_str() {
            "SubscriptionStarted" if stretches.is_empty() => "",
            "TrialStarted" => "trial",
            "SubscriptionActivated" | "PaymentRecovered" | "Resumed" => "open",
            "PaymentFellDue" => "grace",
            "CollectionGivenUp" | "Paused" | "StatusUnknown" => "shut",
            "FirstPaymentAwaited" => "",
            "PlanChanged" => stretches.last().map_or("open", |last| last.class),
            "SubscriptionEnded" | "EndedWithCustomer" => {
                if let Some(last) = stretches.last_mut() {
                    last.until = Some(entry.occurred_at);
                }
                continue;
            }
            _ => continue,
        };
        if let Some(last) = stretches.last_mut().filter(|last| last.until.is_none()) {
            last.until = Some(entry.occurred_at);
        }
        stretches.push(Stretch {
            from: entry.occurred_at,
            until: None,
            class,
            words: entry.sentence.clone(),
            position: Some(entry.position),
        });
    }
    stretches
}

fn bar(
    stretch: &Stretch,
    span: Span,
    now: DateTime<Utc>,
    link: &impl Fn(Option<Position>) -> Option<String>,
) -> Option<Bar> {
    let until = stretch.until.unwrap_or(now).max(stretch.from).min(span.until);
    let (from, end) = (span.share(stretch.from), span.share(until));
    // Of several events of one moment only what came last lasted.
    if stretch.until.is_some_and(|until| until <= stretch.from) {
        return None;
    }
    let last = match stretch.until {
        Some(until) => format!("to {}", Moment(until).text()),
        None => "to now".to_owned(),
    };
    Some(Bar {
        x: span.x(stretch.from),
        width: format!("{:.2}%", (end - from).max(0.4)),
        class: stretch.class,
        title: format!("{}, {last}: {}", Moment(stretch.from).text(), stretch.words),
        link: link(stretch.position),
    })
}
