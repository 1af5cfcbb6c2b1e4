//! Who has which payers and subscriptions, and where those stand: the view behind search, the past and the index.

use std::sync::Arc;

use async_trait::async_trait;
use domain::customer::CustomerEvent;
use domain::events::Event;
use domain::member::MemberEvent;
use domain::ports::{Position, Recorded};

use crate::parked::{Batch, ParkedStreams};
use crate::runner::{Projection, ProjectionError};
use crate::view_store::{Change, Checkpoint, DirectoryRow, SaveError, ViewState, ViewStore};

/// The name and version of the view; another version is another view, built beside the old one.
pub const NAME: &str = "directory-v2";

/// The name under which it is built anew.
pub(crate) const REBUILT: &str = "directory-v2 rebuilt";

/// The row that an event changes, if it changes one. Every event tells the whole row, so that the fold needs no memory.
pub fn row(recorded: &Recorded, event: &Event) -> Option<DirectoryRow> {
    let position = recorded.position;
    match event {
        Event::Member(member, MemberEvent::MemberRegistered) => Some(DirectoryRow::Member {
            member: member.clone(),
            registered_at: recorded.metadata.occurred_at,
            position,
        }),
        Event::Customer(
            customer,
            event @ (CustomerEvent::MemberLinked { member, .. }
            | CustomerEvent::MemberUnlinked { member, .. }),
        ) => Some(DirectoryRow::Customer {
            customer: customer.clone(),
            member: member.clone(),
            linked: matches!(event, CustomerEvent::MemberLinked { .. }),
            position,
        }),
        Event::Subscription(subscription, event) => {
            let standing = Box::new(event.standing()?);
            Some(DirectoryRow::Subscription { subscription: subscription.clone(), standing, position })
        }
        Event::Grant(grant, event) => Some(DirectoryRow::Grant {
            grant: grant.clone(),
            given: event.given(),
            revoked: event.is_revocation(),
            position,
        }),
        Event::Member(member, event) => Some(DirectoryRow::Checkout {
            session: session(event)?.to_owned(),
            member: member.clone(),
            position,
        }),
        Event::Payment(..)
        | Event::Account(..)
        | Event::Customer(
            _,
            CustomerEvent::CustomerDeleted { .. } | CustomerEvent::ErasedMemberNamed { .. },
        )
        | Event::Catalog(_) => None,
    }
}

/// The checkout that an event of a member's is about.
fn session(event: &MemberEvent) -> Option<&str> {
    match event {
        MemberEvent::CheckoutOpened { session, .. } => Some(session),
        MemberEvent::CheckoutCompleted { checkout } => Some(&checkout.session),
        MemberEvent::CheckoutEnded { end } => Some(&end.session),
        _ => None,
    }
}

/// Keeps the directory up to date with the log.
pub struct Directory {
    views: Arc<dyn ViewStore>,
    name: &'static str,
    /// Set for a build beside the live view: the one generation it writes.
    only: Option<u64>,
    state: ViewState,
}

impl Directory {
    /// The live directory in `views`.
    pub fn new(views: Arc<dyn ViewStore>) -> Self {
        Self { views, name: NAME, only: None, state: ViewState::default() }
    }

    /// Another one, begun at `begun`, that nobody reads yet.
    pub(crate) fn beside(views: Arc<dyn ViewStore>, name: &'static str, begun: Checkpoint) -> Self {
        let state = ViewState { checkpoint: begun, ..ViewState::default() };
        Self { views, name, only: Some(begun.generation), state }
    }
}

#[async_trait]
impl Projection for Directory {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn checkpoint(&mut self) -> Result<Position, ProjectionError> {
        self.state.refresh(self.views.as_ref(), self.name).await?;
        if self.only.is_some_and(|only| only != self.state.checkpoint.generation) {
            return Err(ProjectionError::Overtaken(NAME.to_owned()));
        }
        Ok(self.state.checkpoint.position)
    }

    fn parked(&self) -> &ParkedStreams {
        &self.state.parked
    }

    async fn apply(&mut self, batch: Batch, next: Position) -> Result<(), ProjectionError> {
        let rows = batch.events.iter().filter_map(|(recorded, event)| row(recorded, event)).collect();
        let Batch { cured, parked, .. } = &batch;
        let change = Change { to: next, rows, cured: cured.clone(), parked: parked.clone() };
        match self.views.save(self.name, self.state.checkpoint, change).await {
            Ok(checkpoint) => {
                self.state.checkpoint = checkpoint;
                self.state.parked.take_in(&batch);
                Ok(())
            }
            Err(SaveError::CheckpointMoved(_)) => Err(ProjectionError::Moved),
            Err(SaveError::Store(error)) => Err(error.into()),
        }
    }
}
