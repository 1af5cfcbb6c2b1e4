//! Looks at the billing provider for purchases that members come back from: one for each purchase at a time, and only so many
//! at once, since an id of a session is quickly made up and every look waits for somebody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::ids::MemberId;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tracing::Instrument;

use crate::error::ApiError;
use crate::state::{Purchase, Purchases};

/// How many looks there are at once.
const MOST: usize = 64;
/// How many of them are for sessions that nothing here knows of: they may have been begun elsewhere, or be made up.
const UNKNOWN: usize = 8;
/// How many of those are for one member.
const UNKNOWN_OF_ONE: usize = 2;

/// What a look shows; nothing where the provider could not be asked.
type Look = Shared<BoxFuture<'static, Option<Purchase>>>;

/// Whose purchase, and which.
type Key = (MemberId, String);

/// The looks that are under way.
#[derive(Debug, Clone, Default)]
pub struct Looks(Arc<Mutex<HashMap<Key, UnderWay>>>);

#[derive(Debug)]
struct UnderWay {
    look: Look,
    known: bool,
}

/// A look's place, until it is over.
struct Place {
    looks: Looks,
    key: Key,
}

impl Looks {
    /// The look at a purchase, and whether it was under way before. It goes on when nobody waits for it. `known` says whether
    /// the log knows of the session.
    pub(super) fn look(
        &self,
        purchases: &Arc<dyn Purchases>,
        member: &MemberId,
        session: &str,
        known: bool,
    ) -> Result<(Look, bool), ApiError> {
        let mut under_way = self.under_way();
        let key = (member.clone(), session.to_owned());
        if let Some(held) = under_way.get(&key) {
            return Ok((held.look.clone(), true));
        }
        let unknown = || under_way.iter().filter(|(_, held)| !held.known);
        let hers = || unknown().filter(|((of, _), _)| of == member).count();
        if under_way.len() >= MOST || (!known && (unknown().count() >= UNKNOWN || hers() >= UNKNOWN_OF_ONE)) {
            return Err(ApiError::Overloaded);
        }
        let place = Place { looks: self.clone(), key: key.clone() };
        let purchases = purchases.clone();
        let asking = async move {
            let (member, session) = &place.key;
            let found = purchases.checkout(member, session).await;
            found.inspect_err(|error| tracing::warn!(%error, "a purchase could not be looked up")).ok()
        };
        let task = tokio::spawn(asking.in_current_span());
        let told = async move {
            let ended = task.await;
            ended
                .inspect_err(|error| tracing::error!(%error, "a look at a purchase broke off"))
                .ok()
                .flatten()
        };
        let look = told.boxed().shared();
        under_way.insert(key, UnderWay { look: look.clone(), known });
        Ok((look, false))
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Key, UnderWay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let over = self.looks.under_way().remove(&self.key);
        // Outside the lock.
        drop(over);
    }
}
