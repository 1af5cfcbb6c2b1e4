//! A store with one protection taken out, to show what it was good for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use accounts::AccountStore;
use accounts::store::{
    AccountRecord, Change, Device, EmailChange, EndedSession, Hash, News, Opened, Opening, Rotation,
    ServiceTokenRecord, SessionRecord, TokenKind, TokenRecord, Which, Whose,
};
use accounts::throttle::{Counter, Refused};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::account::{RevokedBecause, Role};
use domain::ids::{MemberId, SessionId};
use domain::ports::StoreError;

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A refresh token is spent also where it is not the present one any more.
    SpendsAnything,
    /// Sessions are said to have ended and have not.
    EndsNothing,
    /// Sessions do not begin.
    BeginsNothing,
}

pub(super) struct Tampered {
    store: Arc<dyn AccountStore>,
    fault: Fault,
    families: Mutex<HashMap<SessionId, Hash>>,
}

impl Tampered {
    pub(super) fn with(store: Arc<dyn AccountStore>, fault: Fault) -> Arc<dyn AccountStore> {
        Arc::new(Self { store, fault, families: Mutex::default() })
    }

    async fn rotate_all_the_same(&self, mut rotation: Rotation) -> Result<bool, StoreError> {
        let family = self.families.lock().unwrap()[&rotation.session];
        while !self.store.rotate(rotation.clone()).await? {
            let Some((session, _)) = self.store.session(&family).await? else { return Ok(false) };
            rotation.from = session.current;
        }
        Ok(true)
    }
}

/// Hands everything on but what is written out below.
macro_rules! hand_on {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl AccountStore for Tampered {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.store.$name($($argument),*).await
            })*

            async fn session(&self, family: &Hash) -> Result<Option<(SessionRecord, Role)>, StoreError> {
                let found = self.store.session(family).await?;
                if let Some((session, _)) = &found {
                    self.families.lock().unwrap().insert(session.id.clone(), *family);
                }
                Ok(found)
            }

            async fn rotate(&self, rotation: Rotation) -> Result<bool, StoreError> {
                if self.fault == Fault::SpendsAnything {
                    return self.rotate_all_the_same(rotation).await;
                }
                self.store.rotate(rotation).await
            }

            async fn begin_session(
                &self,
                account: &AccountRecord,
                session: SessionRecord,
                device: Device,
                counters: &[String],
            ) -> Result<bool, StoreError> {
                if self.fault == Fault::BeginsNothing {
                    return Err(StoreError::Unavailable("no session begins".to_owned()));
                }
                self.store.begin_session(account, session, device, counters).await
            }

            async fn end_sessions(
                &self,
                member: &MemberId,
                which: Which,
                why: RevokedBecause,
            ) -> Result<Vec<SessionId>, StoreError> {
                if self.fault == Fault::EndsNothing {
                    return Ok(Vec::new());
                }
                self.store.end_sessions(member, which, why).await
            }
        }
    };
}

hand_on! {
    fn account(whose: &Whose) -> Option<AccountRecord>;
    fn accounts(role: Option<Role>, after: Option<&MemberId>, limit: usize) -> Vec<AccountRecord>;
    fn open_account(opening: Opening) -> Opened;
    fn change_account(member: &MemberId, change: Change, news: Option<News>) -> bool;
    fn change_email(member: &MemberId, token: &Hash, email: &str, lower: &str, news: News) -> EmailChange;
    fn news(before: DateTime<Utc>, limit: usize) -> Vec<(MemberId, News)>;
    fn forget_news(id: &str) -> ();
    fn unfinished_accounts(before: DateTime<Utc>, limit: usize) -> Vec<(MemberId, bool)>;
    fn forget_account(member: &MemberId) -> ();
    fn add_token(token: TokenRecord) -> ();
    fn token(hash: &Hash, now: DateTime<Utc>) -> Option<TokenRecord>;
    fn registrations(lower: &str, now: DateTime<Utc>) -> Vec<TokenRecord>;
    fn take_token(hash: &Hash, kind: TokenKind, now: DateTime<Utc>) -> Option<TokenRecord>;
    fn try_token(hash: &Hash, at_most: u32, now: DateTime<Utc>) -> Option<TokenRecord>;
    fn mark_seen(seen: &[(SessionId, u32)]) -> ();
    fn sessions(member: &MemberId) -> Vec<SessionRecord>;
    fn ended_sessions(member: Option<&MemberId>, limit: usize) -> Vec<EndedSession>;
    fn forget_sessions(sessions: &[SessionId]) -> ();
    fn knows_device(member: &MemberId, device: &Hash) -> bool;
    fn attempt(counters: Vec<Counter>, now: DateTime<Utc>) -> Result<(), Refused>;
    fn clear(keys: &[String]) -> ();
    fn add_service_token(token: ServiceTokenRecord) -> ();
    fn service_tokens() -> Vec<ServiceTokenRecord>;
    fn revoke_service_token(id: &str, now: DateTime<Utc>) -> bool;
    fn sweep(now: DateTime<Utc>) -> bool;
}
