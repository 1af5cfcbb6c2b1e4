//! What goes on beside requests.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::account::AccountCommand;
use domain::ids::{MemberId, SessionId};
use domain::metadata::{Actor, Context};
use domain::ports::StoreError;
use metrics::counter;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Accounts, LETTERS};
use crate::error::AccountError;
use crate::letters::{Letter, MailError};
use crate::news;
use crate::store::News;

/// How many letters are sent at once.
const AT_ONCE: usize = 4;
/// A letter leaves after a random part of this, so that sending it is not on the time of the answer that it follows from: that
/// would tell whether an address is known.
const SCATTER: Duration = Duration::from_millis(256);
/// How long after a failure that passes a letter is tried again, each time; then it is given up.
const AGAIN: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_mins(1), Duration::from_mins(5)];
/// How often service tokens are read again, so that a revocation elsewhere is seen.
const TOKENS: Duration = Duration::from_secs(5);
/// How often what is too old is removed, and what was interrupted is finished.
const SWEEP: Duration = Duration::from_mins(1);
/// Within this time a request has finished what it began.
const WITHIN: TimeDelta = TimeDelta::minutes(1);
/// How long nothing more is noted after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// How many notes of seen access tokens are written at once.
const NOTES: usize = 256;
/// How often it is forgotten which access tokens have been seen; longer than one lives would remember what is over.
const FORGET: Duration = Duration::from_mins(10);

/// What goes on beside requests: letters are sent, what is too old is removed, revocations that were interrupted are
/// finished, service tokens are read again. Run it as long as the service runs.
pub struct Background {
    accounts: Accounts,
    letters: mpsc::Receiver<(String, Letter)>,
    seen: mpsc::Receiver<(SessionId, u32)>,
    refused: mpsc::Receiver<(MemberId, Context)>,
}

impl Background {
    pub(super) fn new(
        accounts: Accounts,
        letters: mpsc::Receiver<(String, Letter)>,
        seen: mpsc::Receiver<(SessionId, u32)>,
        refused: mpsc::Receiver<(MemberId, Context)>,
    ) -> Self {
        Self { accounts, letters, seen, refused }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let Self { accounts, letters, seen, refused } = self;
        tokio::join!(
            send_letters(accounts.clone(), letters),
            write_seen(accounts.clone(), seen),
            record_refused(accounts.clone(), refused),
            read_tokens(accounts.clone()),
            sweep(accounts),
        );
    }
}

async fn send_letters(accounts: Accounts, mut letters: mpsc::Receiver<(String, Letter)>) {
    let (places, mut under_way) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    while let Some((to, letter)) = letters.recv().await {
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= LETTERS {
            under_way.join_next().await;
        }
        let (accounts, places) = (accounts.clone(), places.clone());
        under_way.spawn(async move {
            send(&accounts, &places, &to, &letter).await;
            accounts.inner.unsent.send_modify(|unsent| *unsent -= 1);
        });
    }
}

/// A letter has a place only while it is being sent: what is to be tried again holds up no other. Where it goes is never logged.
async fn send(accounts: &Accounts, places: &Semaphore, to: &str, letter: &Letter) {
    let name = letter.name();
    let count = |outcome| {
        counter!("membership_letters_total", "letter" => name, "outcome" => outcome).increment(1);
    };
    let mut part = [u8::MAX];
    if let Err(error) = accounts.inner.parts.random.fill(&mut part) {
        tracing::warn!(%error, "a letter leaves as late as letters leave");
    }
    sleep(SCATTER * u32::from(part[0]) / 256).await;
    for pause in AGAIN.iter().map(Some).chain([None]) {
        let place = places.acquire().await;
        let sent = accounts.inner.parts.mailer.send(to, letter).await;
        drop(place);
        match (sent, pause) {
            (Ok(()), _) => return count("sent"),
            (Err(MailError::Passing(why)), Some(pause)) => {
                tracing::warn!(letter = name, why, "a letter was not sent and is tried again");
                sleep(*pause).await;
            }
            (Err(why), _) => {
                tracing::error!(letter = name, %why, "a letter was not sent");
                return count("failed");
            }
        }
    }
}

async fn write_seen(accounts: Accounts, mut seen: mpsc::Receiver<(SessionId, u32)>) {
    let mut batch = Vec::with_capacity(NOTES);
    while seen.recv_many(&mut batch, NOTES).await > 0 {
        let noted = accounts.inner.parts.store.mark_seen(&batch).await;
        // Where only reading is possible no other attempt is made: each request would be one.
        if let Err(error) = noted.or_else(unless_read_only) {
            tracing::warn!(%error, "what was seen of access tokens is noted the next time");
            accounts.forget_seen(&batch);
            sleep(PAUSE).await;
        }
        batch.clear();
    }
}

async fn record_refused(accounts: Accounts, mut refused: mpsc::Receiver<(MemberId, Context)>) {
    while let Some((member, context)) = refused.recv().await {
        let at = context.occurred_at;
        if let Err(error) = accounts.tell(&member, AccountCommand::RefuseSignIn { at }, context).await {
            tracing::warn!(%error, %member, "refused sign-ins were not recorded");
        }
    }
}

async fn read_tokens(accounts: Accounts) {
    let mut again = interval(TOKENS);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        if let Err(error) = accounts.load_service_tokens().await {
            tracing::warn!(%error, "service tokens are as they were");
        }
    }
}

async fn sweep(accounts: Accounts) {
    let (mut again, mut forget) = (interval(SWEEP), interval(FORGET));
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = again.tick() => {
                let tidied = match accounts.tidy().await {
                    Err(AccountError::Store(error)) => unless_read_only(error).map_err(AccountError::Store),
                    tidied => tidied,
                };
                if let Err(error) = tidied {
                    tracing::warn!(%error, "accounts are tidied up a little later");
                }
            }
            _ = forget.tick() => accounts.inner.seen.pin().clear(),
        }
    }
}

/// Another process does what this one may not.
fn unless_read_only(error: StoreError) -> Result<(), StoreError> {
    if matches!(error, StoreError::ReadOnly(_)) { Ok(()) } else { Err(error) }
}

impl Accounts {
    fn forget_seen(&self, seen: &[(SessionId, u32)]) {
        let known = self.inner.seen.pin();
        for (session, _) in seen {
            known.remove(&session.uuid().map(|uuid| uuid.as_u128()).unwrap_or_default());
        }
    }

    /// Removes what is too old, and finishes what was interrupted. Runs once a minute by itself.
    pub async fn tidy(&self) -> Result<(), AccountError> {
        let context = self.context(Actor::system(), "tidy");
        let (store, now) = (&self.inner.parts.store, self.now());
        while store.sweep(now).await? {}
        while self.inner.parts.identities.sweep_flows(now).await? {}
        // What goes wrong with one account is no reason to leave the others.
        let mut done = self.finish_all_ended(&context).await;
        for (member, deleted) in store.unfinished_accounts(now - WITHIN, NOTES).await? {
            let finished = if deleted {
                self.finish_deleted(&member, context.clone()).await.map(drop)
            } else {
                self.announce(&member, context.clone()).await.map(drop)
            };
            done = done.and(finished);
        }
        for (member, news) in store.news(now - WITHIN, NOTES).await? {
            done = done.and(self.tell_again(&member, &news).await);
        }
        done
    }

    async fn finish_all_ended(&self, context: &Context) -> Result<(), AccountError> {
        while self.finish_ended(None, context).await?.0 {}
        Ok(())
    }

    async fn tell_again(&self, member: &MemberId, news: &News) -> Result<(), AccountError> {
        let (command, context) = news::read(news)?;
        self.tell_news(member, &news.id, command, context).await.map(drop)
    }
}
