//! The same store, with the time of every operation measured and its failures counted. One place for both databases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use accounts::IdentityStore;
use accounts::identities::{FirstSignIn, Flow, IdentityRecord, Linked, OpenedWith, Unlinked};
use accounts::store::{
    AccountRecord, AccountStore, Device, EmailChange, EndedSession, Hash, News, Opened, Opening, Rotation,
    ServiceTokenRecord, SessionRecord, TokenKind, TokenRecord, Which, Whose,
};
use accounts::throttle::{Counter, Refused};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::account::{RevokedBecause, Role};
use domain::idempotency::{Attempt, Begun, IdempotencyStore, KeptAnswer, KeyedCommand};
use domain::ids::{CustomerId, GrantId, IdentityId, MemberId, RemarkId, SessionId, SubscriptionId};
use domain::metadata::Actor;
use domain::ports::{
    Erased, Erasure, Erasures, EventFeed, Page, PayerKey, PayerRecord, PayerTold, Payers, People, PersonKey,
    PersonRecord, PersonStored, Position, Recorded, Remark, Remarks, StoreError,
};
use metrics::{counter, histogram};
use projections::view_store::{
    Change, Checkpoint, DirectoryDump, IdKind, Promotion, SaveError, ViewState, ViewStore,
};
use tracing::{Instrument, Span, debug_span};
use webhook_ingest::inbox::{
    Asked, Backlog, Delivery, DeliveryFilter, DeliveryKey, Inbox, NewDelivery, Outcome, Redrive, Redriven,
    Selection, Step, Stored, Why,
};
use webhook_ingest::notebook::{Notebook, Unused};

/// A store that is measured.
pub(crate) struct Measured<B>(pub(crate) Arc<B>);

/// Errors that say in a word what kind they are.
pub(crate) trait Kind {
    fn kind(&self) -> &'static str;
}

impl Kind for StoreError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Corrupt(_) => "corrupt",
            Self::ReadOnly(_) => "read_only",
        }
    }
}

impl Kind for SaveError {
    fn kind(&self) -> &'static str {
        match self {
            Self::CheckpointMoved(_) => "checkpoint_moved",
            Self::Store(error) => error.kind(),
        }
    }
}

/// Runs an operation in a span of its own, measures it, and counts what went wrong.
pub(crate) async fn measured<T, E: Kind>(
    operation: &'static str,
    work: impl Future<Output = Result<T, E>> + Send,
) -> Result<T, E> {
    let begun = Instant::now();
    // By itself, a look at the log that finds nothing new is no trace.
    let span = if Span::current().is_none() { Span::none() } else { debug_span!("store", operation) };
    let done = work.instrument(span).await;
    histogram!("membership_store_operation_duration_seconds", "operation" => operation)
        .record(begun.elapsed());
    if let Err(error) = &done {
        counter!("membership_store_errors_total", "operation" => operation, "kind" => error.kind())
            .increment(1);
    }
    done
}

#[async_trait]
impl<B: EventFeed> EventFeed for Measured<B> {
    async fn read(&self, after: Position, limit: usize) -> Result<Page, StoreError> {
        measured("feed_read", self.0.read(after, limit)).await
    }

    async fn read_stream(&self, aggregate_type: &str, id: &str) -> Result<Vec<Recorded>, StoreError> {
        measured("stream_read", self.0.read_stream(aggregate_type, id)).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        measured("head", self.0.head()).await
    }

    async fn changed(&self, at_most: Duration) {
        self.0.changed(at_most).await;
    }
}

#[async_trait]
impl<B: Inbox> Inbox for Measured<B> {
    async fn store(&self, delivery: NewDelivery) -> Result<Stored, StoreError> {
        measured("inbox_store", self.0.store(delivery)).await
    }

    async fn claim(
        &self,
        now: DateTime<Utc>,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        measured("inbox_claim", self.0.claim(now, lease, limit)).await
    }

    async fn settle(
        &self,
        id: &str,
        outcome: Outcome,
        why: Option<Why>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        measured("inbox_settle", self.0.settle(id, outcome, why, now)).await
    }

    async fn forget_payer(
        &self,
        payer: &CustomerId,
        erased: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        measured("inbox_forget_payer", self.0.forget_payer(payer, erased, now)).await
    }

    async fn keep_payer(
        &self,
        payer: &CustomerId,
        member: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        measured("inbox_keep_payer", self.0.keep_payer(payer, member, now)).await
    }

    async fn postpone(
        &self,
        id: &str,
        why: Why,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        measured("inbox_postpone", self.0.postpone(id, why, due, now)).await
    }

    async fn release(&self, ids: &[String]) -> Result<(), StoreError> {
        measured("inbox_release", self.0.release(ids)).await
    }

    async fn redrive(&self, which: Redrive, asked: Asked) -> Result<u64, StoreError> {
        measured("inbox_redrive", self.0.redrive(which, asked)).await
    }

    async fn redrive_some(
        &self,
        of: Selection,
        after: Option<String>,
        at_most: usize,
        asked: Asked,
    ) -> Result<Redriven, StoreError> {
        measured("inbox_redrive", self.0.redrive_some(of, after, at_most, asked)).await
    }

    async fn steps(&self, id: &str) -> Result<Vec<Step>, StoreError> {
        measured("inbox_steps", self.0.steps(id)).await
    }

    async fn get(&self, id: &str) -> Result<Option<Delivery>, StoreError> {
        measured("inbox_get", self.0.get(id)).await
    }

    async fn list(&self, filter: DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        measured("inbox_list", self.0.list(filter)).await
    }

    async fn find(
        &self,
        key: DeliveryKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Delivery)>, StoreError> {
        measured("inbox_find", self.0.find(key, prefix, limit)).await
    }

    async fn note_read(&self, id: &str, actor: &Actor, now: DateTime<Utc>) -> Result<(), StoreError> {
        measured("inbox_note_read", self.0.note_read(id, actor, now)).await
    }

    async fn pending(&self) -> Result<u64, StoreError> {
        measured("inbox_count", self.0.pending()).await
    }

    async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog, StoreError> {
        measured("inbox_count", self.0.backlog(now)).await
    }
}

#[async_trait]
impl<B: Notebook> Notebook for Measured<B> {
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        measured("note_read", self.0.note(name)).await
    }

    async fn write_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        measured("note_write", self.0.write_note(name, text)).await
    }

    async fn remove_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        measured("note_write", self.0.remove_note(name, text)).await
    }

    async fn notes(&self, prefix: &str, limit: usize) -> Result<Vec<(String, String)>, StoreError> {
        measured("note_read", self.0.notes(prefix, limit)).await
    }

    async fn not_in_inbox(&self, ids: &[String]) -> Result<Vec<String>, StoreError> {
        measured("inbox_missing", self.0.not_in_inbox(ids)).await
    }

    async fn unused_of(&self, customer: &CustomerId) -> Result<Vec<Unused>, StoreError> {
        measured("inbox_unused", self.0.unused_of(customer)).await
    }

    async fn subscriptions_after(
        &self,
        after: Option<&SubscriptionId>,
        limit: usize,
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        measured("subscriptions_listed", self.0.subscriptions_after(after, limit)).await
    }
}

#[async_trait]
impl<B: IdempotencyStore> IdempotencyStore for Measured<B> {
    async fn begin(
        &self,
        command: &KeyedCommand,
        now: DateTime<Utc>,
        lease: Duration,
        keep: Duration,
    ) -> Result<Begun, StoreError> {
        measured("idempotency_begin", self.0.begin(command, now, lease, keep)).await
    }

    async fn finish(
        &self,
        id: &[u8; 32],
        attempt: Attempt,
        answer: KeptAnswer,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        measured("idempotency_finish", self.0.finish(id, attempt, answer, until)).await
    }

    async fn release(&self, id: &[u8; 32], attempt: Attempt) -> Result<(), StoreError> {
        measured("idempotency_release", self.0.release(id, attempt)).await
    }

    async fn withdraw(&self, id: &[u8; 32], attempt: Attempt) -> Result<(), StoreError> {
        measured("idempotency_withdraw", self.0.withdraw(id, attempt)).await
    }

    async fn prune(&self, now: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        measured("idempotency_prune", self.0.prune(now, limit)).await
    }
}

#[async_trait]
impl<B: ViewStore> ViewStore for Measured<B> {
    async fn checkpoint(&self, view: &str) -> Result<Checkpoint, StoreError> {
        measured("view_state", self.0.checkpoint(view)).await
    }

    async fn state(&self, view: &str) -> Result<ViewState, StoreError> {
        measured("view_state", self.0.state(view)).await
    }

    async fn save(&self, view: &str, from: Checkpoint, change: Change) -> Result<Checkpoint, SaveError> {
        measured("view_save", self.0.save(view, from, change)).await
    }

    async fn begin(&self, view: &str) -> Result<Checkpoint, StoreError> {
        measured("view_begin", self.0.begin(view)).await
    }

    async fn promote(&self, built: &str, generation: u64, live: &str) -> Result<Promotion, StoreError> {
        measured("view_promote", self.0.promote(built, generation, live)).await
    }

    async fn sweep(&self) -> Result<bool, StoreError> {
        measured("view_sweep", self.0.sweep()).await
    }

    async fn customers_of(&self, view: &str, member: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        measured("view_read", self.0.customers_of(view, member)).await
    }

    async fn customers_ever_of(&self, view: &str, member: &MemberId) -> Result<Vec<CustomerId>, StoreError> {
        measured("view_read", self.0.customers_ever_of(view, member)).await
    }

    async fn grants_of(&self, view: &str, member: &MemberId) -> Result<Vec<GrantId>, StoreError> {
        measured("view_read", self.0.grants_of(view, member)).await
    }

    async fn find(
        &self,
        view: &str,
        kind: IdKind,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, MemberId)>, StoreError> {
        measured("view_find", self.0.find(view, kind, prefix, limit)).await
    }

    async fn subscriptions_of(
        &self,
        view: &str,
        customers: &[CustomerId],
    ) -> Result<Vec<SubscriptionId>, StoreError> {
        measured("view_read", self.0.subscriptions_of(view, customers)).await
    }

    async fn registered_at(
        &self,
        view: &str,
        member: &MemberId,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        measured("view_read", self.0.registered_at(view, member)).await
    }

    async fn dump(&self, view: &str) -> Result<DirectoryDump, StoreError> {
        measured("view_dump", self.0.dump(view)).await
    }
}

#[async_trait]
impl<B: People> People for Measured<B> {
    async fn create(&self, record: PersonRecord) -> Result<PersonStored, StoreError> {
        measured("people_create", self.0.create(record)).await
    }

    async fn get(&self, member: &MemberId) -> Result<Option<PersonRecord>, StoreError> {
        measured("people_read", self.0.get(member)).await
    }

    async fn list(&self, after: Option<&MemberId>, limit: usize) -> Result<Vec<PersonRecord>, StoreError> {
        measured("people_read", self.0.list(after, limit)).await
    }

    async fn find(
        &self,
        key: PersonKey,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<PersonRecord>, StoreError> {
        measured("people_find", self.0.find(key, prefix, limit)).await
    }
}

#[async_trait]
impl<B: Payers> Payers for Measured<B> {
    async fn tell(&self, told: PayerTold) -> Result<(), StoreError> {
        measured("payer_tell", self.0.tell(told)).await
    }

    async fn get(&self, customers: &[CustomerId]) -> Result<Vec<PayerRecord>, StoreError> {
        measured("payer_read", self.0.get(customers)).await
    }

    async fn find(&self, key: PayerKey, text: &str, limit: usize) -> Result<Vec<PayerRecord>, StoreError> {
        measured("payer_find", self.0.find(key, text, limit)).await
    }

    async fn payments(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        measured("payments_find", self.0.payments(prefix, limit)).await
    }
}

#[async_trait]
impl<B: Remarks> Remarks for Measured<B> {
    async fn put(&self, remark: Remark) -> Result<(), StoreError> {
        measured("remark_put", self.0.put(remark)).await
    }

    async fn get(&self, ids: &[RemarkId]) -> Result<Vec<Remark>, StoreError> {
        measured("remark_read", self.0.get(ids)).await
    }
}

#[async_trait]
impl<B: Erasures> Erasures for Measured<B> {
    async fn erase(&self, erasure: Erasure) -> Result<Erased, StoreError> {
        measured("erase", self.0.erase(erasure)).await
    }
}

#[async_trait]
impl<B: IdentityStore> IdentityStore for Measured<B> {
    async fn add_flow(&self, flow: Flow) -> Result<(), StoreError> {
        measured("flow_add", self.0.add_flow(flow)).await
    }

    async fn take_flow(
        &self,
        state: &Hash,
        browser: &Hash,
        now: DateTime<Utc>,
    ) -> Result<Option<Flow>, StoreError> {
        measured("flow_take", self.0.take_flow(state, browser, now)).await
    }

    async fn use_identity(
        &self,
        issuer: &str,
        subject: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<MemberId>, StoreError> {
        measured("identity_use", self.0.use_identity(issuer, subject, now)).await
    }

    async fn identities(&self, member: &MemberId) -> Result<Vec<IdentityRecord>, StoreError> {
        measured("identity_list", self.0.identities(member)).await
    }

    async fn open_with(&self, first: FirstSignIn, news: News) -> Result<OpenedWith, StoreError> {
        measured("account_open", self.0.open_with(first, news)).await
    }

    async fn link_identity(&self, identity: IdentityRecord, news: News) -> Result<Linked, StoreError> {
        measured("identity_change", self.0.link_identity(identity, news)).await
    }

    async fn unlink_identity(
        &self,
        member: &MemberId,
        identity: &IdentityId,
        issuers: &[String],
        news: News,
    ) -> Result<Unlinked, StoreError> {
        measured("identity_change", self.0.unlink_identity(member, identity, issuers, news)).await
    }

    async fn sweep_flows(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        measured("flow_sweep", self.0.sweep_flows(now)).await
    }
}

#[async_trait]
impl<B: AccountStore> AccountStore for Measured<B> {
    async fn account(&self, whose: &Whose) -> Result<Option<AccountRecord>, StoreError> {
        measured("account_read", self.0.account(whose)).await
    }

    async fn accounts(
        &self,
        role: Option<Role>,
        after: Option<&MemberId>,
        limit: usize,
    ) -> Result<Vec<AccountRecord>, StoreError> {
        measured("account_list", self.0.accounts(role, after, limit)).await
    }

    async fn open_account(&self, opening: Opening) -> Result<Opened, StoreError> {
        measured("account_open", self.0.open_account(opening)).await
    }

    async fn change_account(
        &self,
        member: &MemberId,
        change: accounts::store::Change,
        news: Option<News>,
    ) -> Result<bool, StoreError> {
        measured("account_change", self.0.change_account(member, change, news)).await
    }

    async fn change_email(
        &self,
        member: &MemberId,
        token: &Hash,
        email: &str,
        email_lower: &str,
        news: News,
    ) -> Result<EmailChange, StoreError> {
        measured("account_change", self.0.change_email(member, token, email, email_lower, news)).await
    }

    async fn news(&self, before: DateTime<Utc>, limit: usize) -> Result<Vec<(MemberId, News)>, StoreError> {
        measured("account_unfinished", self.0.news(before, limit)).await
    }

    async fn forget_news(&self, id: &str) -> Result<(), StoreError> {
        measured("account_told", self.0.forget_news(id)).await
    }

    async fn unfinished_accounts(
        &self,
        before: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<(MemberId, bool)>, StoreError> {
        measured("account_unfinished", self.0.unfinished_accounts(before, limit)).await
    }

    async fn forget_account(&self, member: &MemberId) -> Result<(), StoreError> {
        measured("account_told", self.0.forget_account(member)).await
    }

    async fn add_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        measured("account_token_write", self.0.add_token(token)).await
    }

    async fn token(&self, hash: &Hash, now: DateTime<Utc>) -> Result<Option<TokenRecord>, StoreError> {
        measured("account_token_read", self.0.token(hash, now)).await
    }

    async fn registrations(
        &self,
        email_lower: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        measured("account_token_read", self.0.registrations(email_lower, now)).await
    }

    async fn take_token(
        &self,
        hash: &Hash,
        kind: TokenKind,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        measured("account_token_write", self.0.take_token(hash, kind, now)).await
    }

    async fn try_token(
        &self,
        hash: &Hash,
        at_most: u32,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenRecord>, StoreError> {
        measured("account_token_write", self.0.try_token(hash, at_most, now)).await
    }

    async fn begin_session(
        &self,
        account: &AccountRecord,
        session: SessionRecord,
        device: Device,
        counters: &[String],
    ) -> Result<bool, StoreError> {
        measured("session_begin", self.0.begin_session(account, session, device, counters)).await
    }

    async fn session(&self, family: &Hash) -> Result<Option<(SessionRecord, Role)>, StoreError> {
        measured("session_read", self.0.session(family)).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<bool, StoreError> {
        measured("session_rotate", self.0.rotate(rotation)).await
    }

    async fn mark_seen(&self, seen: &[(SessionId, u32)]) -> Result<(), StoreError> {
        measured("session_seen", self.0.mark_seen(seen)).await
    }

    async fn sessions(&self, member: &MemberId) -> Result<Vec<SessionRecord>, StoreError> {
        measured("session_read", self.0.sessions(member)).await
    }

    async fn end_sessions(
        &self,
        member: &MemberId,
        which: Which,
        why: RevokedBecause,
    ) -> Result<Vec<SessionId>, StoreError> {
        measured("session_end", self.0.end_sessions(member, which, why)).await
    }

    async fn ended_sessions(
        &self,
        member: Option<&MemberId>,
        limit: usize,
    ) -> Result<Vec<EndedSession>, StoreError> {
        measured("account_unfinished", self.0.ended_sessions(member, limit)).await
    }

    async fn forget_sessions(&self, sessions: &[SessionId]) -> Result<(), StoreError> {
        measured("account_told", self.0.forget_sessions(sessions)).await
    }

    async fn knows_device(&self, member: &MemberId, device: &Hash) -> Result<bool, StoreError> {
        measured("account_read", self.0.knows_device(member, device)).await
    }

    async fn attempt(
        &self,
        counters: Vec<Counter>,
        now: DateTime<Utc>,
    ) -> Result<Result<(), Refused>, StoreError> {
        measured("account_attempt", self.0.attempt(counters, now)).await
    }

    async fn clear(&self, keys: &[String]) -> Result<(), StoreError> {
        measured("account_attempt", self.0.clear(keys)).await
    }

    async fn add_service_token(&self, token: ServiceTokenRecord) -> Result<(), StoreError> {
        measured("service_token_write", self.0.add_service_token(token)).await
    }

    async fn service_tokens(&self) -> Result<Vec<ServiceTokenRecord>, StoreError> {
        measured("service_token_read", self.0.service_tokens()).await
    }

    async fn revoke_service_token(&self, id: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        measured("service_token_write", self.0.revoke_service_token(id, now)).await
    }

    async fn sweep(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        measured("account_sweep", self.0.sweep(now)).await
    }
}
