//! Who has which payers and subscriptions, and where those stand: the view behind search, the past and the index.

use std::sync::Arc;

use async_trait::async_trait;
use domain::customer::CustomerEvent;
use domain::events::Event;
use domain::member::MemberEvent;
use domain::ports::{Position, Recorded};

use crate::runner::{Projection, ProjectionError};
use crate::view_store::{DirectoryRow, SaveError, ViewStore};

/// The name and version of the view; another version is another view, built beside the old one.
pub const NAME: &str = "directory-v1";

/// The row that an event changes, if it changes one. Every event tells the whole row, so that the fold needs no memory.
pub fn row(recorded: &Recorded, event: &Event) -> Option<DirectoryRow> {
    let position = recorded.position;
    match event {
        Event::Member(member, MemberEvent::MemberRegistered) => Some(DirectoryRow::Member {
            member: member.clone(),
            registered_at: recorded.metadata.occurred_at,
            position,
        }),
        Event::Customer(customer, CustomerEvent::MemberLinked { member, .. }) => {
            Some(DirectoryRow::Customer { customer: customer.clone(), member: member.clone(), position })
        }
        Event::Subscription(subscription, event) => {
            let standing = Box::new(event.standing()?);
            Some(DirectoryRow::Subscription { subscription: subscription.clone(), standing, position })
        }
        Event::Member(_, MemberEvent::CheckoutCompleted { .. } | MemberEvent::CheckoutEnded { .. })
        | Event::Payment(..)
        | Event::Customer(_, CustomerEvent::CustomerDeleted { .. })
        | Event::Catalog(_) => None,
    }
}

/// Keeps the directory up to date with the log.
pub struct Directory {
    views: Arc<dyn ViewStore>,
    checkpoint: Position,
}

impl Directory {
    /// The directory in `views`.
    pub fn new(views: Arc<dyn ViewStore>) -> Self {
        Self { views, checkpoint: Position::START }
    }
}

#[async_trait]
impl Projection for Directory {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn checkpoint(&mut self) -> Result<Position, ProjectionError> {
        self.checkpoint = self.views.checkpoint(NAME).await?;
        Ok(self.checkpoint)
    }

    async fn apply(&mut self, events: &[(Recorded, Event)], next: Position) -> Result<(), ProjectionError> {
        let rows = events.iter().filter_map(|(recorded, event)| row(recorded, event)).collect();
        match self.views.save(NAME, self.checkpoint, next, rows).await {
            Ok(()) => {
                self.checkpoint = next;
                Ok(())
            }
            Err(SaveError::CheckpointMoved(_)) => Err(ProjectionError::Moved),
            Err(SaveError::Store(error)) => Err(error.into()),
        }
    }
}
