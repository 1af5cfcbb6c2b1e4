//! Who signs in with which provider, in `SQLite`.

use accounts::IdentityStore;
use accounts::identities::{FirstSignIn, Flow, IdentityRecord, Linked, OpenedWith, Unlinked};
use accounts::store::{Hash, News};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ids::{IdentityId, MemberId, SessionId};
use domain::ports::StoreError;
use rusqlite::{Connection, Row, params};

use super::accounts::{DROP_REGISTRATIONS, HOLDER, NEW_PERSON, OPEN, add_news, all, get, one, run};
use super::{Sqlite, micros, moment};
use crate::account_rows::SWEPT_AT_ONCE;

const ADD_FLOW: &str = "INSERT INTO account_flows (state, browser, provider, return_to, member, session, expires_at) \
                        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const TAKE_FLOW: &str = "DELETE FROM account_flows WHERE state = ?1 AND browser = ?2 AND expires_at > ?3 \
                         RETURNING provider, return_to, member, session, expires_at";
const SWEEP_FLOWS: &str = "DELETE FROM account_flows WHERE state IN \
                           (SELECT state FROM account_flows WHERE expires_at <= ?1 LIMIT ?2)";
const USE: &str =
    "UPDATE account_identities SET used_at = ?3 WHERE issuer = ?1 AND subject = ?2 RETURNING member";
const WHOSE: &str = "SELECT member FROM account_identities WHERE issuer = ?1 AND subject = ?2";
const HERS: &str = "SELECT issuer, subject, id, member, provider, email, linked_at, used_at FROM account_identities \
                    WHERE member = ?1 ORDER BY linked_at, id";
const ADD: &str = "INSERT INTO account_identities (issuer, subject, id, member, provider, email, linked_at, used_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const REMOVE: &str = "DELETE FROM account_identities WHERE member = ?1 AND id = ?2";
const OPEN_ACCOUNT: &str =
    "SELECT password IS NOT NULL FROM accounts WHERE member = ?1 AND deleted_at IS NULL";
const OTHERS: &str = "SELECT count(*) FROM account_identities WHERE member = ?1 AND id <> ?2 \
                      AND issuer IN (SELECT value FROM json_each(?3))";
const LIVES: &str = "SELECT 1 FROM account_sessions WHERE member = ?1 AND id = ?2 AND ended_why IS NULL";
const DROP_CHALLENGES: &str = "DELETE FROM account_tokens WHERE member = ?1 AND kind = 'challenge'";
const FORGET_IDENTITIES: &str = "DELETE FROM account_identities WHERE member = ?1";
const FORGET_FLOWS: &str = "DELETE FROM account_flows WHERE member = ?1";

#[async_trait]
impl IdentityStore for Sqlite {
    async fn add_flow(&self, flow: Flow) -> Result<(), StoreError> {
        self.write(move |connection| {
            let Flow { state, browser, provider, return_to, link, expires_at } = &flow;
            let (member, session) = link.as_ref().map(|(member, session)| (member, session)).unzip();
            let (member, session) = (member.map(MemberId::as_str), session.map(SessionId::as_str));
            let values = params![state, browser, provider, return_to, member, session, micros(*expires_at)];
            run(connection, ADD_FLOW, values).map(|_| ())
        })
        .await
    }

    async fn take_flow(
        &self,
        state: &Hash,
        browser: &Hash,
        now: DateTime<Utc>,
    ) -> Result<Option<Flow>, StoreError> {
        let (state, browser) = (*state, *browser);
        let flow = move |row: &Row<'_>| {
            let (member, session): (Option<String>, Option<String>) = (get(row, 2)?, get(row, 3)?);
            let link = member.zip(session).map(|(member, session)| (member.into(), session.into()));
            let (provider, return_to) = (get(row, 0)?, get(row, 1)?);
            Ok(Flow { state, browser, provider, return_to, link, expires_at: moment(get(row, 4)?)? })
        };
        self.write(move |connection| one(connection, TAKE_FLOW, params![state, browser, micros(now)], flow))
            .await
    }

    async fn use_identity(
        &self,
        issuer: &str,
        subject: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<MemberId>, StoreError> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        self.write(move |connection| one(connection, USE, params![issuer, subject, micros(now)], member))
            .await
    }

    async fn identities(&self, member: &MemberId) -> Result<Vec<IdentityRecord>, StoreError> {
        let member = member.to_string();
        self.readers.read(move |connection| all(connection, HERS, [member], identity)).await
    }

    async fn open_with(&self, first: FirstSignIn, news: News) -> Result<OpenedWith, StoreError> {
        self.write(move |connection| {
            let FirstSignIn { identity, email, email_lower } = &first;
            let (person, now) = (identity.member.as_str(), micros(identity.linked_at));
            let held = one(connection, WHOSE, [&identity.issuer, &identity.subject], member)?;
            if let Some(held) = held {
                return Ok(OpenedWith::Held(held));
            }
            if one(connection, HOLDER, [email_lower], |_| Ok(()))?.is_some() {
                return Ok(OpenedWith::Taken);
            }
            run(connection, DROP_REGISTRATIONS, [email_lower])?;
            run(connection, NEW_PERSON, params![person, email, email_lower, now])?;
            run(connection, OPEN, params![person, now, None::<String>, true])?;
            add(connection, identity)?;
            add_news(connection, person, &news)?;
            Ok(OpenedWith::New)
        })
        .await
    }

    async fn link_identity(&self, identity: IdentityRecord, news: News) -> Result<Linked, StoreError> {
        self.write(move |connection| {
            let person = identity.member.as_str();
            if one(connection, OPEN_ACCOUNT, [person], |_| Ok(()))?.is_none() {
                return Ok(Linked::NoAccount);
            }
            let asked_in = identity.asked_in.as_ref().map(SessionId::as_str);
            if one(connection, LIVES, params![person, asked_in], |_| Ok(()))?.is_none() {
                return Ok(Linked::SessionEnded);
            }
            let held = one(connection, WHOSE, [&identity.issuer, &identity.subject], member)?;
            if let Some(held) = held {
                return Ok(if held == identity.member { Linked::Held } else { Linked::Taken });
            }
            add(connection, &identity)?;
            add_news(connection, person, &news)?;
            Ok(Linked::Done)
        })
        .await
    }

    async fn unlink_identity(
        &self,
        member: &MemberId,
        identity: &IdentityId,
        issuers: &[String],
        news: News,
    ) -> Result<Unlinked, StoreError> {
        let (member, identity) = (member.to_string(), identity.to_string());
        let issuers = serde_json::json!(issuers).to_string();
        self.write(move |connection| {
            let has_password = one(connection, OPEN_ACCOUNT, [&member], |row| get::<bool>(row, 0))?;
            let others = one(connection, OTHERS, [&member, &identity, &issuers], |row| get::<i64>(row, 0))?;
            let is_hers = all(connection, HERS, [&member], |row| get::<String>(row, 2))?.contains(&identity);
            if !is_hers {
                return Ok(Unlinked::Unknown);
            }
            if has_password != Some(true) && others.unwrap_or_default() == 0 {
                return Ok(Unlinked::LastWayIn);
            }
            run(connection, REMOVE, [&member, &identity])?;
            run(connection, DROP_CHALLENGES, [&member])?;
            add_news(connection, &member, &news)?;
            Ok(Unlinked::Done)
        })
        .await
    }

    async fn sweep_flows(&self, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.write(move |connection| {
            Ok(run(connection, SWEEP_FLOWS, params![micros(now), SWEPT_AT_ONCE])? > 0)
        })
        .await
    }
}

/// Removes what of this is somebody's who gives her account up.
pub(super) fn forget(connection: &Connection, member: &str) -> Result<(), StoreError> {
    run(connection, FORGET_IDENTITIES, [member])?;
    run(connection, FORGET_FLOWS, [member]).map(|_| ())
}

fn add(connection: &Connection, identity: &IdentityRecord) -> Result<(), StoreError> {
    let IdentityRecord { id, issuer, subject, member, provider, email, linked_at, used_at, asked_in: _ } =
        identity;
    let (linked_at, used_at) = (micros(*linked_at), used_at.map(micros));
    let values = params![issuer, subject, id.as_str(), member.as_str(), provider, email, linked_at, used_at];
    run(connection, ADD, values).map(|_| ())
}

fn member(row: &Row<'_>) -> Result<MemberId, StoreError> {
    get::<String>(row, 0).map(MemberId::from)
}

fn identity(row: &Row<'_>) -> Result<IdentityRecord, StoreError> {
    Ok(IdentityRecord {
        issuer: get(row, 0)?,
        subject: get(row, 1)?,
        id: get::<String>(row, 2)?.into(),
        member: get::<String>(row, 3)?.into(),
        provider: get(row, 4)?,
        email: get(row, 5)?,
        linked_at: moment(get(row, 6)?)?,
        used_at: get::<Option<i64>>(row, 7)?.map(moment).transpose()?,
        asked_in: None,
    })
}
