//! What is otherwise at another moment, and what was learned too late to be known at the first.

use std::collections::{BTreeMap, BTreeSet};

use super::words::day;
use super::{AsOf, Chronicle, MemberState, stamp};
use crate::timeline::TimelineEntry;

/// What is otherwise with a member at another moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// How it stood at first.
    pub from: MemberState,
    /// How it stood then.
    pub to: MemberState,
    /// What is otherwise, in the order of the screen.
    pub changes: Vec<Change>,
    /// What happened between the two moments, oldest first.
    pub between: Vec<TimelineEntry>,
    /// What is about the time until the first moment and was recorded after what was known then, oldest first.
    pub learned_later: Vec<TimelineEntry>,
    /// What those events changed in how it stood at the first moment.
    pub corrections: Vec<Change>,
    /// The same in one sentence.
    pub sentence: String,
}

/// Something that is otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What, such as `status of sub_1`.
    pub what: String,
    /// How it was; nothing when it was not there.
    pub before: Option<String>,
    /// How it is; nothing when it is no longer there.
    pub after: Option<String>,
}

impl Chronicle {
    /// What was otherwise with her at `to` than at `from`.
    pub fn diff(&self, from: AsOf, to: AsOf) -> Diff {
        let (before, after) = (self.state(from), self.state(to));
        let knew_until = from.known_at.unwrap_or(from.at);
        let entries: Vec<TimelineEntry> =
            self.entries().into_iter().filter(|entry| to.knows_entry(entry)).collect();
        let is_later =
            |entry: &&TimelineEntry| entry.occurred_at <= from.at && entry.recorded_at > knew_until;
        let learned_later: Vec<TimelineEntry> = entries.iter().filter(is_later).cloned().collect();
        let known_then = self.state(AsOf { known_at: Some(knew_until), ..from });
        let known_now = self.state(AsOf { at: from.at, ..to });
        let corrections = changes(&known_then, &known_now);
        let (first, last) = (from.at.min(to.at), from.at.max(to.at));
        let between =
            entries.into_iter().filter(|entry| entry.occurred_at > first && entry.occurred_at <= last);
        Diff {
            changes: changes(&before, &after),
            between: between.collect(),
            sentence: later(learned_later.len(), !corrections.is_empty()),
            from: before,
            to: after,
            learned_later,
            corrections,
        }
    }
}

fn later(count: usize, changed: bool) -> String {
    match (count, changed) {
        (0, _) => "Nothing arrived later about the time before.".to_owned(),
        (1, true) => "1 event arrived later that changed this.".to_owned(),
        (1, false) => "1 event arrived later and changed nothing of this.".to_owned(),
        (count, true) => format!("{count} events arrived later that changed this."),
        (count, false) => format!("{count} events arrived later and changed nothing of this."),
    }
}

/// What differs between two states.
pub(super) fn changes(before: &MemberState, after: &MemberState) -> Vec<Change> {
    let (before, after) = (fields(before), fields(after));
    let names: BTreeSet<&(u8, String)> = before.keys().chain(after.keys()).collect();
    let change = |name: &(u8, String)| {
        let (before, after) = (before.get(name).cloned(), after.get(name).cloned());
        (before != after).then(|| Change { what: name.1.clone(), before, after })
    };
    names.into_iter().filter_map(change).collect()
}

/// Everything that a state says, by the order of the screen and a name.
fn fields(state: &MemberState) -> BTreeMap<(u8, String), String> {
    let mut fields = BTreeMap::new();
    let mut say = |place: u8, name: String, value: Option<String>| {
        fields.extend(value.map(|value| ((place, name), value)));
    };
    say(0, "access".into(), Some(state.sentence.clone()));
    for plan in &state.access {
        let value = plan.allowed.then(|| plan.sentence.clone());
        say(1, format!("plan {}", plan.plan), value);
    }
    for source in &state.sources {
        let (kind, id) = (source.kind.as_str(), &source.id);
        let plans: Vec<&str> = source.plans.iter().map(domain::ids::PlanId::as_str).collect();
        say(2, format!("{kind} {id}"), Some(source.sentence.clone()));
        say(2, format!("status of {id}"), Some(source.status.clone()));
        say(2, format!("plans of {id}"), Some(plans.join(", ")));
        say(2, format!("end of {id}"), source.until.map(day));
    }
    say(3, "next".into(), state.next.as_ref().map(|next| format!("{}: {}", day(next.at), next.sentence)));
    for paid in &state.paid {
        let currency = if paid.currency.is_empty() {
            "a currency that was not told".to_owned()
        } else {
            paid.currency.to_uppercase()
        };
        say(4, format!("paid in {currency}"), Some(paid.sentence.clone()));
    }
    say(5, "last payment".into(), state.last_payment.as_ref().map(|payment| payment.sentence.clone()));
    for customer in &state.customers {
        let deleted = customer.deleted_at.map(|at| format!("deleted on {}", day(at)));
        let value = deleted.unwrap_or_else(|| "hers".to_owned());
        say(6, format!("customer {}", customer.customer), Some(value));
    }
    let duplicates: Vec<String> = state.duplicates.iter().map(ToString::to_string).collect();
    say(7, "paid for beside each other".into(), (!duplicates.is_empty()).then(|| duplicates.join(", ")));
    for request in &state.requests {
        say(8, format!("request {}", request.position), Some(request.sentence.clone()));
    }
    let account = &state.account;
    say(9, "account opened".into(), account.opened_at.map(day));
    say(9, "e-mail address confirmed".into(), account.verified_at.map(day));
    say(9, "e-mail address changed".into(), account.email_changed_at.map(day));
    say(9, "password changed".into(), account.password_changed_at.map(day));
    say(9, "last sign-in".into(), account.signed_in_at.map(day));
    say(9, "sign-ins refused".into(), account.refused_at.map(day));
    say(9, "second factor".into(), account.second_factor.then(|| "on".to_owned()));
    say(9, "role".into(), account.open.then(|| account.role.to_string()));
    say(9, "account locked".into(), account.lock.map(|lock| lock.words()));
    say(9, "account deleted".into(), account.deleted_at.map(day));
    for note in &state.notes {
        say(10, format!("note {}", note.position), Some(note.text.clone()));
    }
    say(11, "erased".into(), state.erased_at.map(day));
    fields
}

impl Diff {
    /// The difference as support reads it.
    pub fn text(&self) -> String {
        let mut lines = vec![
            format!("{} · {} → {}", self.from.member, stamp(self.from.as_of.at), stamp(self.to.as_of.at)),
            self.sentence.clone(),
        ];
        if self.changes.is_empty() {
            lines.push("Nothing is otherwise.".to_owned());
        }
        lines.extend(self.changes.iter().map(Change::text));
        lines.extend(self.corrections.iter().map(|change| format!("learned later: {}", change.text())));
        lines.extend(self.between.iter().map(|entry| format!("between: {}", entry.text())));
        lines.extend(self.learned_later.iter().map(|entry| format!("arrived later: {}", entry.text())));
        lines.join("\n  ") + "\n"
    }
}

impl Change {
    fn text(&self) -> String {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        format!("{}: {} → {}", self.what, shown(&self.before), shown(&self.after))
    }
}
