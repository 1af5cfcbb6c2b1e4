//! Finding members by what somebody typed into one box: the beginning of an id, an address, an external id or words of a name.
//!
//! Only beginnings are looked for, since an index answers those; nobody's whole table is ever gone through.

use std::collections::HashSet;
use std::sync::Arc;

use cqrs_es::Aggregate;
use domain::catalog::{Catalog, Playback, Video};
use domain::events::{Event, upcasters};
use domain::ids::{CustomerId, MemberId, SubscriptionId};
use domain::payment::{Payment, PaymentEvent};
use domain::ports::{EventFeed, PayerKey, PayerRecord, Payers, People, PersonKey, StoreError};

use crate::directory::NAME;
use crate::view_store::{IdKind, ViewStore};

/// What a typed word may be, by how it begins. It may be the beginning of an address or an external id besides, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The beginning of an id that the directory knows.
    Id(IdKind),
    /// The beginning of the id of a payment or an invoice.
    Payment,
    /// The beginning of the id of an event of the provider's.
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
    /// The address that bills go to.
    BillingEmail,
    /// Her name, as the billing provider has it.
    Name,
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
    /// Her name, where the billing provider said one.
    pub name: Option<String>,
}

/// Something that deliveries of the provider's tell of, and whom they speak of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldOf {
    /// Its id.
    pub id: String,
    /// The payer.
    pub payer: Option<CustomerId>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Members, each once.
    pub members: Vec<FoundMember>,
    /// What deliveries tell of that is nobody's, by its id.
    pub unclaimed: Vec<String>,
    /// Payers that are nobody's.
    pub payers: Vec<PayerRecord>,
    /// Whether there may be more.
    pub more: bool,
}

/// Looks for members.
#[derive(Clone)]
pub struct Search {
    feed: Arc<dyn EventFeed>,
    views: Arc<dyn ViewStore>,
    people: Arc<dyn People>,
    payers: Arc<dyn Payers>,
}

impl Search {
    /// Looks in these.
    pub fn new(
        feed: Arc<dyn EventFeed>,
        views: Arc<dyn ViewStore>,
        people: Arc<dyn People>,
        payers: Arc<dyn Payers>,
    ) -> Self {
        Self { feed, views, people, payers }
    }

    /// The first members, at most `limit`, whom a typed word may mean, and what it may mean that is nobody's. What deliveries
    /// tell of is known elsewhere, so `told` is what was found there.
    pub async fn find(&self, typed: &Typed, told: &[ToldOf], limit: usize) -> Result<Found, StoreError> {
        let word = typed.word.as_str();
        // One more than is shown tells whether there are more.
        let asked = limit + 1;
        let mut found = Found { more: told.len() >= asked, ..Found::default() };
        if let Meaning::Id(kind) = typed.meaning {
            let ids = self.views.find(NAME, kind, word, asked).await?;
            found.more |= ids.len() >= asked;
            for (id, member) in ids {
                found.members.push(FoundMember::by(FoundBy::Id(kind), member, &id));
            }
        }
        if typed.meaning == Meaning::Payment {
            let payments = self.payers.payments(word, asked).await?;
            found.more |= payments.len() >= asked;
            for payment in payments {
                let Some(bought) = self.paid_for(&payment).await? else { continue };
                let owner = self.owner(IdKind::Subscription, bought.as_str()).await?;
                found.members.extend(owner.map(|owner| FoundMember::by(FoundBy::Payment, owner, &payment)));
            }
        }
        let by = match typed.meaning {
            Meaning::Delivery => FoundBy::Delivery,
            Meaning::Id(kind) => FoundBy::Id(kind),
            Meaning::Payment | Meaning::Words => FoundBy::Payment,
        };
        for ToldOf { id, payer } in told {
            let owner = match payer {
                Some(payer) => self.owner(IdKind::Customer, payer.as_str()).await?,
                None => None,
            };
            match owner {
                Some(owner) => found.members.push(FoundMember::by(by, owner, id)),
                None if found.members.iter().any(|found| found.value == *id) => {}
                None => found.unclaimed.push(id.clone()),
            }
        }
        self.find_people(word, PersonKey::Email, asked, &mut found).await?;
        if typed.meaning == Meaning::Id(IdKind::Customer) {
            self.find_payers(word, PayerKey::Id, asked, &mut found).await?;
        }
        self.find_payers(word, PayerKey::Email, asked, &mut found).await?;
        if typed.meaning == Meaning::Words && !word.contains('@') {
            self.find_payers(word, PayerKey::Name, asked, &mut found).await?;
        }
        self.find_people(word, PersonKey::ExternalId, asked, &mut found).await?;
        let mut seen = HashSet::new();
        found.members.retain(|found| seen.insert(found.member.clone()));
        let mut seen = HashSet::new();
        found.payers.retain(|found| seen.insert(found.customer.clone()));
        found.more |= found.members.len() > limit;
        found.members.truncate(limit);
        self.name(&mut found.members).await?;
        Ok(found)
    }

    /// Who some members are, as they are listed.
    pub async fn listed(&self, members: Vec<MemberId>) -> Result<Vec<FoundMember>, StoreError> {
        let by_herself = |member: MemberId| {
            let value = member.to_string();
            FoundMember::by(FoundBy::Id(IdKind::Member), member, &value)
        };
        let mut members: Vec<FoundMember> = members.into_iter().map(by_herself).collect();
        self.name(&mut members).await?;
        Ok(members)
    }

    async fn find_people(
        &self,
        word: &str,
        key: PersonKey,
        asked: usize,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let people = self.people.find(key, word, asked).await?;
        found.more |= people.len() >= asked;
        for person in people {
            let (by, value) = match key {
                PersonKey::Email => (FoundBy::Email, person.email),
                PersonKey::ExternalId => (FoundBy::ExternalId, person.external_id),
            };
            found.members.push(FoundMember::by(by, person.member, &value.unwrap_or_default()));
        }
        Ok(())
    }

    async fn find_payers(
        &self,
        word: &str,
        key: PayerKey,
        asked: usize,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let payers = self.payers.find(key, word, asked).await?;
        found.more |= payers.len() >= asked;
        for payer in payers {
            let Some(owner) = self.owner(IdKind::Customer, payer.customer.as_str()).await? else {
                found.payers.push(payer);
                continue;
            };
            let (by, value) = match key {
                PayerKey::Id => (FoundBy::Id(IdKind::Customer), Some(payer.customer.to_string())),
                PayerKey::Email => (FoundBy::BillingEmail, payer.email),
                PayerKey::Name => (FoundBy::Name, payer.name),
            };
            found.members.push(FoundMember::by(by, owner, &value.unwrap_or_default()));
        }
        Ok(())
    }

    /// Fills in who they are.
    async fn name(&self, members: &mut [FoundMember]) -> Result<(), StoreError> {
        for found in members {
            found.email = self.people.get(&found.member).await?.and_then(|person| person.email);
            found.name = if found.by == FoundBy::Name {
                Some(found.value.clone())
            } else {
                let customers = self.views.customers_of(NAME, &found.member).await?;
                let payers = self.payers.get(&customers).await?;
                payers.into_iter().find_map(|payer| payer.name)
            };
        }
        Ok(())
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
        Self { member, by, value: value.to_owned(), email: None, name: None }
    }
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
}
