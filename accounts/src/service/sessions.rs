//! Ending sessions.

use domain::account::{AccountCommand, RevokedBecause};
use domain::ids::{MemberId, SessionId};
use domain::metadata::{Actor, Context};
use domain::ports::Position;

use super::Accounts;
use crate::answers::SessionView;
use crate::error::AccountError;
use crate::parts::Origin;
use crate::refresh::has_expired;
use crate::secrets::RefreshToken;
use crate::store::{EndedSession, SessionRecord, Which};

/// How many ended sessions are told to the log at once.
const AT_ONCE: usize = 100;

impl Accounts {
    /// Ends the session she is in.
    pub async fn logout(
        &self,
        member: &MemberId,
        session: &SessionId,
        origin: &Origin,
    ) -> Result<Position, AccountError> {
        let context = self.by_herself(member, origin);
        let which = Which::One(session.clone());
        Ok(self.end(member, which, RevokedBecause::SignedOut, context).await?.1)
    }

    /// Ends the session a refresh token belongs to; for when the access token has expired. A token of no session is no error.
    pub async fn logout_with(&self, refresh_token: &str, origin: &Origin) -> Result<Position, AccountError> {
        let Some(token) = RefreshToken::parse(refresh_token) else { return Ok(Position::START) };
        match self.inner.parts.store.session(&token.family()).await? {
            Some((session, _)) => self.logout(&session.member, &session.id, origin).await,
            None => Ok(Position::START),
        }
    }

    /// Her sessions that live, the latest first.
    pub async fn sessions(&self, member: &MemberId) -> Result<Vec<SessionView>, AccountError> {
        let (now, idle) = (self.now(), self.inner.settings.idle_life);
        let sessions = self.inner.parts.store.sessions(member).await?;
        Ok(sessions.into_iter().filter(|session| !has_expired(session, idle, now)).map(shown).collect())
    }

    /// Ends one of a member's sessions; `actor` is she or somebody of the staff.
    pub async fn revoke_session(
        &self,
        member: &MemberId,
        session: &SessionId,
        actor: Actor,
        request_id: &str,
    ) -> Result<Position, AccountError> {
        let (why, context) = (because(member, &actor), self.context(actor, request_id));
        match self.end(member, Which::One(session.clone()), why, context).await? {
            (0, _) => Err(AccountError::NoSession),
            (_, position) => Ok(position),
        }
    }

    /// Ends all of a member's sessions but `keep`, and says how many.
    pub async fn revoke_other_sessions(
        &self,
        member: &MemberId,
        keep: Option<&SessionId>,
        actor: Actor,
        request_id: &str,
    ) -> Result<(usize, Position), AccountError> {
        let (why, context) = (because(member, &actor), self.context(actor, request_id));
        let which = keep.map_or(Which::All, |keep| Which::AllBut(keep.clone()));
        self.end(member, which, why, context).await
    }

    /// Ends sessions for everybody: first no refresh token is worth anything, then the log says so, and with it all access
    /// tokens end. Whatever is interrupted in between is finished in the background.
    pub(super) async fn end(
        &self,
        member: &MemberId,
        which: Which,
        why: RevokedBecause,
        context: Context,
    ) -> Result<(usize, Position), AccountError> {
        let store = &self.inner.parts.store;
        let sessions = store.end_sessions(member, which, why).await?;
        let mut position = Position::START;
        for some in sessions.chunks(AT_ONCE) {
            position = self.tell_ended(member, some, why, context.clone()).await?;
        }
        Ok((sessions.len(), position))
    }

    /// Has the log know of all sessions of a member that have ended, and says from where on they can be seen.
    pub(super) async fn finish_ended_of(
        &self,
        member: &MemberId,
        context: &Context,
    ) -> Result<Position, AccountError> {
        let mut position = Position::START;
        loop {
            let (more, last) = self.finish_ended(Some(member), context).await?;
            position = position.max(last);
            if !more {
                return Ok(position);
            }
        }
    }

    /// Has the log know of sessions that have ended, of one member or of all. Says whether there may be more, and from where on
    /// these can be seen.
    pub(super) async fn finish_ended(
        &self,
        member: Option<&MemberId>,
        context: &Context,
    ) -> Result<(bool, Position), AccountError> {
        let mut position = Position::START;
        let ended = self.inner.parts.store.ended_sessions(member, AT_ONCE).await?;
        let more = ended.len() == AT_ONCE;
        let mut alike: Vec<(MemberId, RevokedBecause, Vec<SessionId>)> = Vec::new();
        for EndedSession { member, id, why } in ended {
            match alike.iter_mut().find(|(of, because, _)| *of == member && *because == why) {
                Some((.., sessions)) => sessions.push(id),
                None => alike.push((member, why, vec![id])),
            }
        }
        let mut failed = None;
        for (member, why, sessions) in alike {
            match self.tell_ended(&member, &sessions, why, context.clone()).await {
                Ok(told) => position = position.max(told),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok((more, position)), Err)
    }

    async fn tell_ended(
        &self,
        member: &MemberId,
        sessions: &[SessionId],
        why: RevokedBecause,
        context: Context,
    ) -> Result<Position, AccountError> {
        let command = AccountCommand::RevokeSessions { sessions: sessions.to_vec(), why };
        let position = self.tell(member, command, context).await?;
        self.inner.parts.store.forget_sessions(sessions).await?;
        Ok(position)
    }
}

/// Whether she or somebody else ended a session.
fn because(member: &MemberId, actor: &Actor) -> RevokedBecause {
    if *actor == Actor::member(member) { RevokedBecause::Revoked } else { RevokedBecause::ByStaff }
}

fn shown(session: SessionRecord) -> SessionView {
    let SessionRecord { id, created_at, rotated_at, expires_at, device, network, .. } = session;
    SessionView { id, created_at, last_used_at: rotated_at, expires_at, device, network }
}
