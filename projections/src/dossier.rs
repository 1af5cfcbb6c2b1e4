//! What a member has asked for and bought, folded from her own streams: what commands are decided on.

use domain::customer::{self, Customer};
use domain::events::Event;
use domain::ids::{CustomerId, MemberId};
use domain::member::{self, Member};
use domain::membership::{Held, Membership};
use domain::ports::Position;
use domain::subscription::{self, Subscription};

use crate::past::{Past, PastError};

/// Everything of a member's that commands depend on.
#[derive(Debug, Clone)]
pub struct Dossier {
    /// What she asked for.
    pub member: Member,
    /// Her payers, by id.
    pub customers: Vec<(CustomerId, Customer)>,
    /// Her subscriptions.
    pub membership: Membership,
    /// How much of the log this knows of, at least.
    pub position: Position,
}

impl Dossier {
    /// Who pays for what she buys next: who pays for what she has, else the one that was linked last and is still there.
    pub fn customer(&self) -> Option<&CustomerId> {
        let there = |id: &CustomerId| {
            self.customers.iter().any(|(held, customer)| held == id && customer.deletion().is_none())
        };
        let paying = self.membership.held.iter().map(Held::customer).find(|customer| there(customer));
        paying.or_else(|| self.customers.iter().rev().map(|(id, _)| id).find(|id| there(id)))
    }
}

impl Past {
    /// What a member has asked for and bought, as of the end of the log.
    pub async fn dossier(&self, id: &MemberId) -> Result<Dossier, PastError> {
        let position = self.caught_up().await?;
        let (own, payers, bought) = self.streams(id).await?;
        let mut member = Member::default();
        for (_, event) in &own.events {
            if let Event::Member(_, event) = event {
                member::evolve(&mut member, event);
            }
        }
        let mut customers = Vec::new();
        for (id, stream) in payers {
            let mut customer = Customer::default();
            for (_, event) in &stream.events {
                if let Event::Customer(_, event) = event {
                    customer::evolve(&mut customer, event);
                }
            }
            customers.push((id, customer));
        }
        let mut held = Vec::new();
        for (id, stream) in bought {
            let mut subscription = Subscription::default();
            for (_, event) in &stream.events {
                if let Event::Subscription(_, event) = event {
                    subscription::evolve(&mut subscription, event);
                }
            }
            held.extend(Held::of(&id, &subscription));
        }
        Ok(Dossier { member, customers, membership: Membership::new(held), position })
    }
}
