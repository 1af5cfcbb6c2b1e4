//! What is known of a subscription, compared with what the provider says when it is asked.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Subscription;
use super::history::Observation;
use super::terms::{Item, Terms};
use crate::ids::SourceEventId;

/// A look at the provider that showed something else than what was known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The look.
    pub source: SourceEventId,
    /// The moment it tells of.
    pub at: DateTime<Utc>,
    /// What differed.
    pub differences: Vec<Difference>,
    /// Why, as far as one can tell.
    pub cause: DriftCause,
    /// Whether what is known agrees from now on.
    pub repaired: bool,
}

/// One thing that differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What, such as `status`.
    pub what: String,
    /// As it was known; nothing when it was not.
    pub known: Option<String>,
    /// As the provider has it; nothing when it has not.
    pub found: Option<String>,
}

/// Why what is known differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum DriftCause {
    /// No delivery told of it: the provider made none, or it was lost on the way.
    NotTold,
    /// A delivery that may have told of it has not been used.
    NotUsed {
        /// The delivery.
        delivery: SourceEventId,
        /// What became of it, and why.
        outcome: String,
    },
    /// Changes of one second whose order could not be told.
    OrderUnknown,
    /// The provider does not have it.
    NotThere,
}

/// A look at the provider, to be compared with what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What the subscription looked like.
    pub observation: Observation,
    /// Why it may differ from what is known.
    pub cause: DriftCause,
}

impl Subscription {
    /// How a look differs from what is known. Nothing when it agrees, or when something newer is known already.
    pub fn drift(&self, look: &Look) -> Option<Drift> {
        let Look { observation: seen, cause } = look;
        let before = self.standing(None);
        let mut told = self.clone();
        told.history.insert(seen.clone());
        let newest = told.history.observations().last()?;
        if newest.source != seen.source {
            return None;
        }
        let differences = before.as_ref().map_or_else(
            || vec![difference("subscription", None, Some(seen.terms.status.to_string()))],
            |before| before.terms.differences(&seen.terms),
        );
        if differences.is_empty() {
            return None;
        }
        let after = told.standing(None)?;
        Some(Drift {
            source: seen.source.clone(),
            at: seen.at,
            differences,
            cause: cause.clone(),
            repaired: after.terms.differences(&seen.terms).is_empty(),
        })
    }

    /// How what is known differs from there being no such subscription; nothing when it is over, or was never seen.
    pub fn drift_from_nothing(&self, source: SourceEventId, at: DateTime<Utc>) -> Option<Drift> {
        let status = self.standing(None)?.terms.status;
        (!status.is_final()).then(|| Drift {
            source,
            at,
            differences: vec![difference("subscription", Some(status.to_string()), None)],
            cause: DriftCause::NotThere,
            repaired: false,
        })
    }

    /// Whether a difference that could not be repaired has been found like this before and is still there.
    pub(super) fn has_drifted_like(&self, drift: &Drift) -> bool {
        self.drift.as_ref().is_some_and(|held| {
            !held.repaired && held.differences == drift.differences && held.cause == drift.cause
        })
    }

    /// Whether changes of the second of `source` are in an order nobody could tell, and nobody has looked since.
    pub fn is_order_unknown(&self, source: &SourceEventId) -> bool {
        let Some(index) = self.history.index_of(source) else { return false };
        !self.history.has_been_looked_at_since(index) && self.history.ambiguous_with(source).is_some()
    }
}

impl Terms {
    /// What differs in two looks at one subscription. Only what access or a member's account depends on counts, and only what
    /// both tell: older payloads lack some of it.
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        if self.status.is_final() && found.status.is_final() {
            return Vec::new();
        }
        let mut differences = Vec::new();
        let mut compare = |what: &str, known: Option<String>, found: Option<String>| {
            if known != found {
                differences.push(difference(what, known, found));
            }
        };
        compare("customer", Some(self.customer.to_string()), Some(found.customer.to_string()));
        compare("status", Some(self.status.to_string()), Some(found.status.to_string()));
        if found.status.is_final() {
            return differences;
        }
        let (known_items, found_items) = comparable(&self.items, &found.items);
        compare("items", Some(known_items), Some(found_items));
        if self.period_end.is_some() && found.period_end.is_some() {
            compare("period_end", moment(self.period_end), moment(found.period_end));
        }
        compare("trial_end", moment(self.trial_end), moment(found.trial_end));
        compare("ends_at", moment(self.scheduled_end()), moment(found.scheduled_end()));
        let paused = |terms: &Self| {
            let pause = terms.collection_paused.as_ref()?;
            let until = moment(pause.resumes_at).map(|until| format!(" until {until}")).unwrap_or_default();
            Some(format!("{}{until}", pause.behavior))
        };
        compare("collection_paused", paused(self), paused(found));
        differences
    }

    /// When it will end, in whichever way the provider says so.
    fn scheduled_end(&self) -> Option<DateTime<Utc>> {
        self.cancels_at.or_else(|| self.period_end.filter(|_| self.cancels_at_period_end))
    }
}

/// What two lists of items sell, by prices where both have them all, else by products.
fn comparable(known: &[Item], found: &[Item]) -> (String, String) {
    let all = || known.iter().chain(found);
    let priced = all().all(|item| item.price.is_some());
    if !priced && !all().all(|item| item.product.is_some()) {
        return (String::new(), String::new());
    }
    let sold = |items: &[Item]| {
        let id = |item: &Item| {
            let price = item.price.as_ref().filter(|_| priced).map(ToString::to_string);
            price.or_else(|| item.product.as_ref().map(ToString::to_string)).unwrap_or_default()
        };
        let mut ids: Vec<_> = items.iter().map(id).collect();
        ids.sort();
        ids.join(", ")
    };
    (sold(known), sold(found))
}

fn difference(what: &str, known: Option<String>, found: Option<String>) -> Difference {
    Difference { what: what.to_owned(), known, found }
}

fn moment(moment: Option<DateTime<Utc>>) -> Option<String> {
    moment.map(|moment| moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
}
