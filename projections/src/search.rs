//! Finding members by what somebody typed into one box: the beginning of an id, an address or an external id.
//!
//! Only beginnings are looked for, since an index answers those; nobody's whole table is ever gone through. No name of a
//! person is stored, so none is found.

use std::sync::Arc;

use cqrs_es::Aggregate;
use domain::catalog::{Catalog, Playback, Video};
use domain::events::{Event, upcasters};
use domain::ids::{MemberId, SubscriptionId};
use domain::payment::{Payment, PaymentEvent};
use domain::ports::{EventFeed, People, PersonKey, StoreError};

use crate::directory::NAME;
use crate::view_store::{IdKind, ViewStore};

/// What a typed word may be, by how it begins. It may be the beginning of an address or an external id besides, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The beginning of an id that the directory knows.
    Id(IdKind),
    /// The whole id of a payment or an invoice.
    Payment,
    /// The whole id of an event of the provider's.
    Delivery,
    /// Nothing that an id begins with.
    Words,
}

/// How each kind of id begins.
const PREFIXES: [(&str, Meaning); 9] = [
    ("mem_", Meaning::Id(IdKind::Member)),
    ("cus_", Meaning::Id(IdKind::Customer)),
    ("sub_", Meaning::Id(IdKind::Subscription)),
    ("grt_", Meaning::Id(IdKind::Grant)),
    ("cs_", Meaning::Id(IdKind::Checkout)),
    ("in_", Meaning::Payment),
    ("pi_", Meaning::Payment),
    ("ch_", Meaning::Payment),
    ("evt_", Meaning::Delivery),
];

/// A word that somebody typed, and what it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// The word, without what is around it.
    pub word: String,
    /// What it may be.
    pub meaning: Meaning,
}

/// What a typed text asks for; nothing where nothing could ever be called so.
pub fn understand(text: &str) -> Option<Typed> {
    let word = text.trim();
    if word.is_empty() || word.chars().any(char::is_control) {
        return None;
    }
    let known = PREFIXES.into_iter().find(|(prefix, _)| word.starts_with(prefix));
    let meaning = known.map_or(Meaning::Words, |(_, meaning)| meaning);
    Some(Typed { word: word.to_owned(), meaning })
}

/// What a member was found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// An id that is hers.
    Id(IdKind),
    /// A payment for a subscription of hers.
    Payment,
    /// An event of the provider's about a payer of hers.
    Delivery,
    /// Her e-mail address.
    Email,
    /// Her id at the site that asked for her.
    ExternalId,
}

/// A member who was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundMember {
    /// The member.
    pub member: MemberId,
    /// By what.
    pub by: FoundBy,
    /// That, whole.
    pub value: String,
    /// Her e-mail address, where one is known.
    pub email: Option<String>,
}

/// Looks for members.
#[derive(Clone)]
pub struct Search {
    feed: Arc<dyn EventFeed>,
    views: Arc<dyn ViewStore>,
    people: Arc<dyn People>,
}

impl Search {
    /// Looks in these.
    pub fn new(feed: Arc<dyn EventFeed>, views: Arc<dyn ViewStore>, people: Arc<dyn People>) -> Self {
        Self { feed, views, people }
    }

    /// The first `limit` members whom a typed word may mean, each once. What an event of the provider's speaks of is known
    /// elsewhere, so `payer` is the one that was found there.
    pub async fn members(
        &self,
        typed: &Typed,
        payer: Option<&str>,
        limit: usize,
    ) -> Result<Vec<FoundMember>, StoreError> {
        let word = typed.word.as_str();
        let mut found: Vec<FoundMember> = Vec::new();
        match typed.meaning {
            Meaning::Id(kind) => {
                for (value, member) in self.views.find(NAME, kind, word, limit).await? {
                    found.push(FoundMember { member, by: FoundBy::Id(kind), value, email: None });
                }
            }
            Meaning::Payment => {
                let bought = self.paid_for(word).await?;
                let member = match &bought {
                    Some(bought) => self.owner(IdKind::Subscription, bought.as_str()).await?,
                    None => None,
                };
                found.extend(member.map(|member| FoundMember::by(FoundBy::Payment, member, word)));
            }
            Meaning::Delivery => {
                let member = match payer {
                    Some(payer) => self.owner(IdKind::Customer, payer).await?,
                    None => None,
                };
                found.extend(member.map(|member| FoundMember::by(FoundBy::Delivery, member, word)));
            }
            Meaning::Words => {}
        }
        keep_first(&mut found);
        for member in &mut found {
            member.email = self.people.get(&member.member).await?.and_then(|person| person.email);
        }
        for (key, by) in [(PersonKey::Email, FoundBy::Email), (PersonKey::ExternalId, FoundBy::ExternalId)] {
            for person in self.people.find(key, word, limit).await? {
                let value = if key == PersonKey::Email { &person.email } else { &person.external_id };
                let (value, member) = (value.clone().unwrap_or_default(), person.member);
                found.push(FoundMember { member, by, value, email: person.email });
            }
        }
        keep_first(&mut found);
        found.truncate(limit);
        Ok(found)
    }

    /// The subscription that a payment, or an invoice, was for.
    async fn paid_for(&self, id: &str) -> Result<Option<SubscriptionId>, StoreError> {
        let upcasters = upcasters();
        for recorded in self.feed.read_stream(Payment::TYPE, id).await? {
            let event = Event::read(&recorded, &upcasters);
            let event = event.map_err(|unreadable| StoreError::Corrupt(unreadable.to_string()))?;
            if let Event::Payment(_, PaymentEvent::PaymentAttributed { purpose }) = event {
                return Ok(Some(purpose.subscription));
            }
        }
        Ok(None)
    }

    /// Whose exactly this is.
    async fn owner(&self, kind: IdKind, id: &str) -> Result<Option<MemberId>, StoreError> {
        let found = self.views.find(NAME, kind, id, 1).await?;
        Ok(found.into_iter().find(|(held, _)| held == id).map(|(_, member)| member))
    }
}

impl FoundMember {
    fn by(by: FoundBy, member: MemberId, value: &str) -> Self {
        Self { member, by, value: value.to_owned(), email: None }
    }
}

/// Leaves out who was found before.
fn keep_first(found: &mut Vec<FoundMember>) {
    let mut seen = std::collections::HashSet::new();
    found.retain(|found| seen.insert(found.member.clone()));
}

/// The first `limit` videos whose id, name or id at Vimeo begins with a typed word, however its letters are written.
pub fn videos<'c>(catalog: &'c Catalog, typed: &Typed, limit: usize) -> Vec<&'c Video> {
    let word = typed.word.to_lowercase();
    let begins = |text: &str| text.to_lowercase().starts_with(&word);
    let meant = |video: &&Video| {
        let at_vimeo = matches!(&video.playback, Some(Playback::Vimeo { id }) if begins(id));
        at_vimeo || begins(video.id.as_str()) || begins(&video.name)
    };
    catalog.videos().filter(meant).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> Option<Meaning> {
        understand(text).map(|typed| typed.meaning)
    }

    #[test]
    fn a_word_is_known_by_how_it_begins() {
        for (text, kind) in [
            ("mem_ada", IdKind::Member),
            ("cus_", IdKind::Customer),
            ("sub_1NX", IdKind::Subscription),
            ("grt_018f", IdKind::Grant),
            ("cs_test_1", IdKind::Checkout),
        ] {
            assert_eq!(meaning(text), Some(Meaning::Id(kind)), "{text}");
        }
        for text in ["in_1", "pi_1", "ch_1"] {
            assert_eq!(meaning(text), Some(Meaning::Payment), "{text}");
        }
        assert_eq!(meaning("evt_1"), Some(Meaning::Delivery));
        for text in ["ada@example.com", "mem", "Mem_ada", "76979871", "%", "_", "evt"] {
            assert_eq!(meaning(text), Some(Meaning::Words), "{text}");
        }
    }

    #[test]
    fn what_is_around_a_word_is_left_out_and_nothing_within() {
        assert_eq!(understand(" \t cus_1\n").unwrap().word, "cus_1");
        assert_eq!(understand("O'Hara 100%").unwrap().word, "O'Hara 100%");
    }

    #[test]
    fn nothing_is_called_by_an_empty_word_or_one_that_cannot_be_written() {
        for text in ["", "  ", "\u{0}", "cus_\u{0}1", "a\nb"] {
            assert_eq!(understand(text), None, "{text:?}");
        }
    }

    #[test]
    fn who_was_found_by_several_things_is_listed_once_by_the_first() {
        let found = |by, value| FoundMember::by(by, "mem_ada".into(), value);
        let mut all = vec![found(FoundBy::Email, "ada@example.com"), found(FoundBy::ExternalId, "ada")];
        keep_first(&mut all);
        assert_eq!(all, [found(FoundBy::Email, "ada@example.com")]);
    }
}
