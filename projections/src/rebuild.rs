//! Builds the directory anew beside the live one, and puts it in its place at once.
//!
//! The live one is read and carried on meanwhile, by this process and by others. A build that fails or is cut short leaves
//! the live one as it was; what it had written is removed by the next.

use std::sync::Arc;

use domain::ports::{EventFeed, Position, StoreError};

use crate::directory::{self, Directory};
use crate::parked::ParkedStreams;
use crate::runner::{Projection, ProjectionError, read_on};
use crate::view_store::{Promotion, ViewStore};

/// How often a build that has caught up may find that the live view was faster.
const ATTEMPTS: u32 = 1_000;

/// What came of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// How far the new directory had read when it became the live one.
    pub position: Position,
    /// The streams that stand still in it.
    pub parked: ParkedStreams,
}

/// Rebuilds the directory. `tell` is called with how far the build has come.
pub async fn rebuild(
    feed: &dyn EventFeed,
    views: Arc<dyn ViewStore>,
    mut tell: impl FnMut(Position) + Send,
) -> Result<Rebuilt, ProjectionError> {
    let begun = views.begin(directory::REBUILT).await?;
    // What earlier builds left behind; the new one has no rows yet that could be in the way.
    sweep(views.as_ref()).await?;
    let mut beside = Directory::beside(views.clone(), directory::REBUILT, begun);
    for _ in 0..ATTEMPTS {
        read_on(feed, &mut beside, |step, _| tell(step.next)).await?;
        match views.promote(directory::REBUILT, begun.generation, directory::NAME).await? {
            Promotion::Done(position) => {
                if let Err(error) = sweep(views.as_ref()).await {
                    tracing::warn!(%error, "the old directory stays until the next rebuild");
                }
                return Ok(Rebuilt { position, parked: beside.parked().clone() });
            }
            Promotion::Behind => {}
            Promotion::Gone => return Err(ProjectionError::Overtaken(directory::NAME.to_owned())),
        }
    }
    let why = "the log grows faster than it can be read again; try when less happens";
    Err(StoreError::Unavailable(why.to_owned()).into())
}

async fn sweep(views: &dyn ViewStore) -> Result<(), StoreError> {
    while views.sweep().await? {}
    Ok(())
}
