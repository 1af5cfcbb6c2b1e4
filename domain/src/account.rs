//! A member's account: who may sign in, and with which rights. Nothing personal and nothing secret.
//!
//! A stream of its own under the member's id: what an account goes through has nothing to do with what she pays for, and a
//! command on the one never waits for, or reads, the history of the other.

use std::convert::Infallible;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

use crate::events::Dated;
use crate::ids::{IdentityId, RemarkId, SessionId};

/// What is told so often is recorded once in this time.
const SELDOM: TimeDelta = TimeDelta::hours(1);
/// How many ended sessions, and how many readers, are remembered.
const REMEMBERED: usize = 256;

/// What somebody who is signed in may do. Each may do what those before it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Learn.
    #[default]
    Member,
    /// Help members.
    Support,
    /// Everything.
    Owner,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Member, Self::Support, Self::Owner];

    /// The role as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Support => "support",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What somebody proved herself with beside her password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondFactor {
    /// A code of her authenticator app.
    Totp,
    /// One of the codes she keeps for when the app is lost.
    BackupCode,
}

/// Why a session was ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokedBecause {
    /// She signed out.
    SignedOut,
    /// She ended it from another device.
    Revoked,
    /// The password was changed.
    PasswordChanged,
    /// A refresh token was used twice, so that one of the two was not hers.
    ReuseDetected,
    /// The account was deleted.
    AccountDeleted,
    /// Somebody of the staff ended it.
    ByStaff,
    /// Her rights became fewer.
    RoleChanged,
    /// The account was locked.
    Locked,
}

impl RevokedBecause {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::SignedOut,
        Self::Revoked,
        Self::PasswordChanged,
        Self::ReuseDetected,
        Self::AccountDeleted,
        Self::ByStaff,
        Self::RoleChanged,
        Self::Locked,
    ];

    /// The reason as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::Revoked => "revoked",
            Self::PasswordChanged => "password_changed",
            Self::ReuseDetected => "reuse_detected",
            Self::AccountDeleted => "account_deleted",
            Self::ByStaff => "by_staff",
            Self::RoleChanged => "role_changed",
            Self::Locked => "locked",
        }
    }

    /// Reads a reason.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == text)
    }
}

/// How a password came to be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordChange {
    /// By somebody who knew the one before.
    Changed,
    /// With the link of a letter.
    Reset,
    /// By whoever has the command line.
    Set,
}

/// A letter that staff has sent to a member's own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaffLetter {
    /// To confirm her address.
    Verification,
    /// To choose another password.
    PasswordReset,
    /// To choose the first password of an account that was made for her.
    Invitation,
}

impl StaffLetter {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Verification, Self::PasswordReset, Self::Invitation];

    /// The kind as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::PasswordReset => "password_reset",
            Self::Invitation => "invitation",
        }
    }

    /// The letter in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Verification => "the letter to confirm her address",
            Self::PasswordReset => "the letter to choose another password",
            Self::Invitation => "the letter that invites her",
        }
    }
}

/// What can be told to an account. Written down only for as long as the log is still to be told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountCommand {
    /// It is open from now on, and its address is hers.
    Open,
    /// It is open from now on; that its address is hers is still to be shown.
    Invite,
    /// She signed in.
    SignIn {
        /// The session that begins.
        session: SessionId,
        /// Whether the device had not been used before.
        new_device: bool,
        /// What she proved herself with beside her password.
        second_factor: Option<SecondFactor>,
        /// The provider that said it is she, in place of a password.
        provider: Option<String>,
    },
    /// She can sign in with a provider from now on.
    LinkIdentity {
        /// What she is known by there, in a table beside the log.
        identity: IdentityId,
        /// The provider, by its name in the settings.
        provider: String,
    },
    /// She cannot any more.
    UnlinkIdentity {
        /// What she was known by there.
        identity: IdentityId,
        /// The provider, by its name in the settings.
        provider: String,
    },
    /// Sign-ins are refused for a while, since there were too many wrong ones.
    RefuseSignIn {
        /// When.
        at: DateTime<Utc>,
    },
    /// These sessions are ended.
    RevokeSessions {
        /// Which.
        sessions: Vec<SessionId>,
        /// Why.
        why: RevokedBecause,
    },
    /// The password is another.
    ChangePassword(PasswordChange),
    /// The address is another.
    ChangeEmail,
    /// A code is asked for from now on.
    EnableSecondFactor,
    /// No code is asked for any more.
    DisableSecondFactor,
    /// A backup code was used.
    UseBackupCode,
    /// She has these rights from now on.
    ChangeRole(Role),
    /// Staff gave her these rights.
    GiveRole {
        /// These.
        role: Role,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// She may not sign in any more.
    Lock {
        /// Until when; none for good.
        until: Option<DateTime<Utc>>,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// She may sign in again.
    Unlock {
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// The account is deleted.
    Delete,
    /// Somebody of the staff looked at something of hers.
    RecordStaffRead {
        /// The session of whoever looked.
        session: SessionId,
        /// What it was.
        what: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// Staff has a letter sent to her.
    RecordLetter {
        /// Which.
        letter: StaffLetter,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// Staff ended sessions of hers.
    RecordSessionsEnded {
        /// The one it was about; none for all.
        session: Option<SessionId>,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
}

/// What happened to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AccountEvent {
    /// It is open from now on.
    #[serde(rename = "AccountRegistered")]
    AccountRegistered,
    /// The address was shown to be hers.
    #[serde(rename = "EmailVerified")]
    EmailVerified,
    /// She signed in.
    #[serde(rename = "SignedIn")]
    SignedIn {
        /// The session that began.
        session: SessionId,
        /// Whether the device had not been used before.
        new_device: bool,
        /// What she proved herself with beside her password.
        second_factor: Option<SecondFactor>,
        /// The provider that said it is she, in place of a password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
    },
    /// She can sign in with a provider from now on.
    #[serde(rename = "IdentityLinked")]
    IdentityLinked {
        /// What she is known by there, in a table beside the log.
        identity: IdentityId,
        /// The provider, by its name in the settings.
        provider: String,
    },
    /// She cannot any more.
    #[serde(rename = "IdentityUnlinked")]
    IdentityUnlinked {
        /// What she was known by there.
        identity: IdentityId,
        /// The provider, by its name in the settings.
        provider: String,
    },
    /// Sign-ins were refused for a while.
    #[serde(rename = "SignInRefused")]
    SignInRefused {
        /// When.
        at: DateTime<Utc>,
    },
    /// A session was ended.
    #[serde(rename = "SessionRevoked")]
    SessionRevoked {
        /// Which.
        session: SessionId,
        /// Why.
        why: RevokedBecause,
    },
    /// The password is another.
    #[serde(rename = "PasswordChanged")]
    PasswordChanged {
        /// How that came.
        how: PasswordChange,
    },
    /// The address is another.
    #[serde(rename = "EmailChanged")]
    EmailChanged,
    /// A code is asked for from now on.
    #[serde(rename = "SecondFactorEnabled")]
    SecondFactorEnabled,
    /// No code is asked for any more.
    #[serde(rename = "SecondFactorDisabled")]
    SecondFactorDisabled,
    /// A backup code was used.
    #[serde(rename = "BackupCodeUsed")]
    BackupCodeUsed,
    /// She has other rights from now on.
    #[serde(rename = "RoleChanged")]
    RoleChanged {
        /// These.
        role: Role,
        /// Why, in words beside the log; none from the command line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remark: Option<RemarkId>,
    },
    /// She may not sign in any more. What she pays for is untouched.
    #[serde(rename = "AccountLocked")]
    AccountLocked {
        /// Until when; none for good.
        until: Option<DateTime<Utc>>,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// She may sign in again.
    #[serde(rename = "AccountUnlocked")]
    AccountUnlocked {
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// The account was deleted.
    #[serde(rename = "AccountDeleted")]
    AccountDeleted,
    /// Somebody of the staff looked at something of hers.
    #[serde(rename = "StaffRead")]
    StaffRead {
        /// The session of whoever looked.
        session: SessionId,
        /// What it was: the first in that hour, or what [is told by itself](is_told_by_itself).
        what: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// Staff had a letter sent to her.
    #[serde(rename = "StaffSentLetter")]
    StaffSentLetter {
        /// Which.
        letter: StaffLetter,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
    /// Staff ended sessions of hers, which are told one by one beside this.
    #[serde(rename = "StaffEndedSessions")]
    StaffEndedSessions {
        /// The one it was about; none for all.
        session: Option<SessionId>,
        /// Why, in words beside the log.
        remark: RemarkId,
    },
}

/// That somebody may not sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Until when; none for good.
    pub until: Option<DateTime<Utc>>,
}

impl Lock {
    /// Whether it holds at a moment: it ends by itself.
    pub fn holds(&self, at: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| at < until)
    }

    /// How long it holds.
    pub fn words(&self) -> String {
        let until = |until: DateTime<Utc>| until.format("until %-d %B %Y, %H:%M UTC").to_string();
        self.until.map_or_else(|| "for good".to_owned(), until)
    }
}

/// One account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    open: bool,
    #[serde(default)]
    verified: bool,
    role: Role,
    #[serde(default)]
    lock: Option<Lock>,
    second_factor: bool,
    /// The sessions that ended last, so that each ends once.
    ended: Vec<SessionId>,
    refused_at: Option<DateTime<Utc>>,
    reads: Vec<(SessionId, DateTime<Utc>)>,
    /// The same of what is told by itself.
    #[serde(default)]
    reads_by_itself: Vec<(SessionId, String, DateTime<Utc>)>,
    /// Why staff did the last things it did, so that each is done once.
    #[serde(default)]
    acts: Vec<RemarkId>,
    /// By what she is known to providers.
    #[serde(default)]
    identities: Vec<IdentityId>,
}

impl Account {
    /// Whether there is one.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether what staff did for this reason was told before.
    pub fn knows_act(&self, remark: &RemarkId) -> bool {
        self.acts.contains(remark)
    }

    /// The lock that was put on it last, unless it was taken off again.
    pub fn lock(&self) -> Option<Lock> {
        self.lock
    }

    /// With which rights.
    pub fn role(&self) -> Role {
        self.role
    }
}

/// Whether `at` is so soon after `last` that it is not worth another event. A clock that was set back makes none wait.
fn too_soon(last: DateTime<Utc>, at: DateTime<Utc>) -> bool {
    at >= last && at - last < SELDOM
}

/// Whether a look at `what` of a member is told beside other looks of that hour: her whole history that is taken along, and
/// what she sees.
pub fn is_told_by_itself(what: &str) -> bool {
    ["view", "export", "print"].iter().any(|kind| what.ends_with(kind))
}

/// The events that follow from `command`; none means already so.
pub fn decide(account: &Account, command: AccountCommand) -> Vec<AccountEvent> {
    use AccountCommand as C;
    use AccountEvent as E;
    let when = |changes: bool, event: E| if changes { vec![event] } else { Vec::new() };
    match command {
        C::Open if account.open => when(!account.verified, E::EmailVerified),
        C::Open => vec![E::AccountRegistered, E::EmailVerified],
        C::Invite => when(!account.open, E::AccountRegistered),
        C::SignIn { session, new_device, second_factor, provider } => {
            vec![E::SignedIn { session, new_device, second_factor, provider }]
        }
        C::LinkIdentity { identity, provider } => {
            when(!account.identities.contains(&identity), E::IdentityLinked { identity, provider })
        }
        C::UnlinkIdentity { identity, provider } => {
            when(account.identities.contains(&identity), E::IdentityUnlinked { identity, provider })
        }
        C::RefuseSignIn { at } => {
            when(!account.refused_at.is_some_and(|last| too_soon(last, at)), E::SignInRefused { at })
        }
        C::RevokeSessions { sessions, why } => {
            let mut events = Vec::new();
            for session in sessions {
                let event = E::SessionRevoked { session: session.clone(), why };
                if !account.ended.contains(&session) && !events.contains(&event) {
                    events.push(event);
                }
            }
            events
        }
        C::ChangePassword(how) => vec![E::PasswordChanged { how }],
        C::ChangeEmail => vec![E::EmailChanged],
        C::EnableSecondFactor => when(!account.second_factor, E::SecondFactorEnabled),
        C::DisableSecondFactor => when(account.second_factor, E::SecondFactorDisabled),
        C::UseBackupCode => vec![E::BackupCodeUsed],
        C::ChangeRole(role) => when(account.role != role, E::RoleChanged { role, remark: None }),
        C::GiveRole { role, remark } => {
            let is_new = account.role != role && !account.knows_act(&remark);
            when(is_new, E::RoleChanged { role, remark: Some(remark) })
        }
        C::Lock { until, remark } => {
            let is_new = account.lock != Some(Lock { until }) && !account.knows_act(&remark);
            when(is_new, E::AccountLocked { until, remark })
        }
        C::Unlock { remark } => {
            when(account.lock.is_some() && !account.knows_act(&remark), E::AccountUnlocked { remark })
        }
        C::Delete => when(account.open, E::AccountDeleted),
        C::RecordStaffRead { session, what, at } => {
            let known = if is_told_by_itself(&what) {
                let mut reads = account.reads_by_itself.iter();
                reads.any(|(reader, read, last)| *reader == session && *read == what && too_soon(*last, at))
            } else {
                account.reads.iter().any(|(reader, last)| *reader == session && too_soon(*last, at))
            };
            when(!known, E::StaffRead { session, what, at })
        }
        C::RecordLetter { letter, remark } => {
            // Told before it leaves, each time.
            vec![E::StaffSentLetter { letter, remark }]
        }
        C::RecordSessionsEnded { session, remark } => {
            when(!account.knows_act(&remark), E::StaffEndedSessions { session, remark })
        }
    }
}

/// Takes an event in. Total: any event in any state.
pub fn evolve(account: &mut Account, event: &AccountEvent) {
    match event {
        AccountEvent::AccountRegistered => account.open = true,
        AccountEvent::EmailVerified => account.verified = true,
        AccountEvent::SignInRefused { at } => account.refused_at = Some(*at),
        AccountEvent::SessionRevoked { session, .. } => remember(&mut account.ended, session.clone()),
        AccountEvent::SecondFactorEnabled => account.second_factor = true,
        AccountEvent::SecondFactorDisabled => account.second_factor = false,
        AccountEvent::RoleChanged { role, remark } => {
            account.role = *role;
            if let Some(remark) = remark {
                remember(&mut account.acts, remark.clone());
            }
        }
        AccountEvent::AccountLocked { until, remark } => {
            account.lock = Some(Lock { until: *until });
            remember(&mut account.acts, remark.clone());
        }
        AccountEvent::AccountUnlocked { remark } => {
            account.lock = None;
            remember(&mut account.acts, remark.clone());
        }
        AccountEvent::AccountDeleted => {
            (account.open, account.verified, account.second_factor) = (false, false, false);
            (account.role, account.lock) = (Role::default(), None);
            account.identities.clear();
        }
        AccountEvent::IdentityLinked { identity, .. } => account.identities.push(identity.clone()),
        AccountEvent::IdentityUnlinked { identity, .. } => {
            account.identities.retain(|held| held != identity);
        }
        AccountEvent::StaffRead { session, what, at } if is_told_by_itself(what) => {
            account.reads_by_itself.retain(|(reader, read, _)| reader != session || read != what);
            remember(&mut account.reads_by_itself, (session.clone(), what.clone(), *at));
        }
        AccountEvent::StaffRead { session, at, .. } => {
            account.reads.retain(|(reader, _)| reader != session);
            remember(&mut account.reads, (session.clone(), *at));
        }
        AccountEvent::StaffSentLetter { remark, .. } | AccountEvent::StaffEndedSessions { remark, .. } => {
            remember(&mut account.acts, remark.clone());
        }
        AccountEvent::SignedIn { .. }
        | AccountEvent::PasswordChanged { .. }
        | AccountEvent::EmailChanged
        | AccountEvent::BackupCodeUsed => {}
    }
}

fn remember<T>(list: &mut Vec<T>, item: T) {
    if list.len() == REMEMBERED {
        list.remove(0);
    }
    list.push(item);
}

impl AccountEvent {
    /// The name it is stored under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AccountRegistered => "AccountRegistered",
            Self::EmailVerified => "EmailVerified",
            Self::SignedIn { .. } => "SignedIn",
            Self::IdentityLinked { .. } => "IdentityLinked",
            Self::IdentityUnlinked { .. } => "IdentityUnlinked",
            Self::SignInRefused { .. } => "SignInRefused",
            Self::SessionRevoked { .. } => "SessionRevoked",
            Self::PasswordChanged { .. } => "PasswordChanged",
            Self::EmailChanged => "EmailChanged",
            Self::SecondFactorEnabled => "SecondFactorEnabled",
            Self::SecondFactorDisabled => "SecondFactorDisabled",
            Self::BackupCodeUsed => "BackupCodeUsed",
            Self::RoleChanged { .. } => "RoleChanged",
            Self::AccountLocked { .. } => "AccountLocked",
            Self::AccountUnlocked { .. } => "AccountUnlocked",
            Self::AccountDeleted => "AccountDeleted",
            Self::StaffRead { .. } => "StaffRead",
            Self::StaffSentLetter { .. } => "StaffSentLetter",
            Self::StaffEndedSessions { .. } => "StaffEndedSessions",
        }
    }
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Dated for AccountEvent {
    fn occurred_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::SignInRefused { at } | Self::StaffRead { at, .. } => Some(*at),
            _ => None,
        }
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _services: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in decide(self, command) {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        evolve(self, &event);
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn account() -> TestFramework<Account> {
        TestFramework::with(())
    }

    fn noon(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn read(session: &str, what: &str, minutes: i64) -> (AccountCommand, AccountEvent) {
        let (session, what, at) = (SessionId::from(session), what.to_owned(), noon(minutes));
        (
            AccountCommand::RecordStaffRead { session: session.clone(), what: what.clone(), at },
            AccountEvent::StaffRead { session, what, at },
        )
    }

    #[test]
    fn an_account_is_opened_once() {
        let opened = vec![AccountEvent::AccountRegistered, AccountEvent::EmailVerified];
        account().given_no_previous_events().when(AccountCommand::Open).then_expect_events(opened.clone());
        account().given(opened).when(AccountCommand::Open).then_expect_events(vec![]);
    }

    #[test]
    fn a_session_ends_once_whatever_ends_it_again() {
        let revoke = |sessions: &[&str], why| AccountCommand::RevokeSessions {
            sessions: sessions.iter().map(|id| SessionId::from(*id)).collect(),
            why,
        };
        let revoked = |id: &str, why| AccountEvent::SessionRevoked { session: SessionId::from(id), why };
        account()
            .given(vec![revoked("ses_1", RevokedBecause::SignedOut)])
            .when(revoke(&["ses_1", "ses_2", "ses_2"], RevokedBecause::PasswordChanged))
            .then_expect_events(vec![revoked("ses_2", RevokedBecause::PasswordChanged)]);
    }

    #[test]
    fn an_identity_is_linked_and_unlinked_once_and_goes_with_the_account() {
        let (identity, provider) = (IdentityId::from("idn_1"), "google".to_owned());
        let (link, unlink) = (
            AccountCommand::LinkIdentity { identity: identity.clone(), provider: provider.clone() },
            AccountCommand::UnlinkIdentity { identity: identity.clone(), provider: provider.clone() },
        );
        let linked = AccountEvent::IdentityLinked { identity: identity.clone(), provider: provider.clone() };
        let unlinked = AccountEvent::IdentityUnlinked { identity, provider };
        account().given_no_previous_events().when(unlink.clone()).then_expect_events(vec![]);
        account().given(vec![linked.clone()]).when(link.clone()).then_expect_events(vec![]);
        account().given(vec![linked.clone()]).when(unlink.clone()).then_expect_events(vec![unlinked]);
        let gone = vec![AccountEvent::AccountRegistered, linked, AccountEvent::AccountDeleted];
        account().given(gone).when(unlink).then_expect_events(vec![]);
    }

    #[test]
    fn a_sign_in_of_before_there_were_providers_reads_as_one_without() {
        let old = r#"{"type":"SignedIn","session":"ses_1","new_device":true,"second_factor":null}"#;
        let read: AccountEvent = serde_json::from_str(old).unwrap();
        let AccountEvent::SignedIn { provider, .. } = &read else { panic!("{read:?}") };
        assert_eq!(*provider, None);
        assert!(!serde_json::to_string(&read).unwrap().contains("provider"));
    }

    #[test]
    fn strangers_who_are_refused_do_not_fill_a_history() {
        let refused = |minutes| AccountEvent::SignInRefused { at: noon(minutes) };
        let refuse = |minutes| AccountCommand::RefuseSignIn { at: noon(minutes) };
        account().given(vec![refused(0)]).when(refuse(59)).then_expect_events(vec![]);
        account().given(vec![refused(0)]).when(refuse(60)).then_expect_events(vec![refused(60)]);
        account().given(vec![refused(60)]).when(refuse(0)).then_expect_events(vec![refused(0)]);
    }

    #[test]
    fn what_staff_reads_is_told_once_an_hour_and_session() {
        let (_, first) = read("ses_1", "timeline", 0);
        let (again, _) = read("ses_1", "explain", 59);
        let (other, of_other) = read("ses_2", "timeline", 1);
        let (later, of_later) = read("ses_1", "timeline", 61);
        account().given(vec![first.clone()]).when(again).then_expect_events(vec![]);
        account().given(vec![first.clone()]).when(other).then_expect_events(vec![of_other]);
        account().given(vec![first]).when(later).then_expect_events(vec![of_later]);
    }

    #[test]
    fn what_staff_takes_along_or_sees_as_her_is_told_beside_every_other_look() {
        let (_, page) = read("ses_1", "member", 0);
        for what in ["view", "export", "print"] {
            let (command, event) = read("ses_1", what, 1);
            account().given(vec![page.clone()]).when(command.clone()).then_expect_events(vec![event.clone()]);
            account().given(vec![event.clone()]).when(command).then_expect_events(vec![]);
            let (later, of_later) = read("ses_1", what, 61);
            account().given(vec![event.clone()]).when(later).then_expect_events(vec![of_later]);
            let (other, of_other) = read("ses_1", "timeline", 2);
            account().given(vec![event]).when(other).then_expect_events(vec![of_other]);
        }
        let ((_, export), (print, of_print)) = (read("ses_1", "export", 0), read("ses_1", "print", 1));
        account().given(vec![export]).when(print).then_expect_events(vec![of_print]);
    }

    #[test]
    fn a_role_that_she_has_is_no_news() {
        account()
            .given_no_previous_events()
            .when(AccountCommand::ChangeRole(Role::Member))
            .then_expect_events(vec![]);
        let owner = AccountEvent::RoleChanged { role: Role::Owner, remark: None };
        account()
            .given_no_previous_events()
            .when(AccountCommand::ChangeRole(Role::Owner))
            .then_expect_events(vec![owner.clone()]);
        let gone = vec![AccountEvent::AccountRegistered, owner.clone(), AccountEvent::AccountDeleted];
        account().given(gone).when(AccountCommand::ChangeRole(Role::Owner)).then_expect_events(vec![owner]);
    }

    #[test]
    fn who_was_invited_shows_later_that_the_address_is_hers() {
        account()
            .given_no_previous_events()
            .when(AccountCommand::Invite)
            .then_expect_events(vec![AccountEvent::AccountRegistered]);
        let invited = vec![AccountEvent::AccountRegistered];
        account().given(invited.clone()).when(AccountCommand::Invite).then_expect_events(vec![]);
        account()
            .given(invited)
            .when(AccountCommand::Open)
            .then_expect_events(vec![AccountEvent::EmailVerified]);
    }

    #[test]
    fn a_lock_is_told_once_moved_by_another_and_undone_by_its_opposite_alone() {
        let lock = |until: Option<i64>, remark: &str| AccountCommand::Lock {
            until: until.map(noon),
            remark: remark.into(),
        };
        let locked = |until: Option<i64>, remark: &str| AccountEvent::AccountLocked {
            until: until.map(noon),
            remark: remark.into(),
        };
        let unlocked = AccountEvent::AccountUnlocked { remark: "rmk_2".into() };
        let unlock = || AccountCommand::Unlock { remark: "rmk_2".into() };
        let held = vec![locked(None, "rmk_1")];
        account()
            .given_no_previous_events()
            .when(lock(None, "rmk_1"))
            .then_expect_events(vec![locked(None, "rmk_1")]);
        account().given(held.clone()).when(lock(None, "rmk_3")).then_expect_events(vec![]);
        let moved = vec![locked(Some(9), "rmk_3")];
        account().given(held.clone()).when(lock(Some(9), "rmk_3")).then_expect_events(moved);
        account().given(held.clone()).when(unlock()).then_expect_events(vec![unlocked.clone()]);
        account().given_no_previous_events().when(unlock()).then_expect_events(vec![]);
        // Told again after its opposite, as news may be that were told just before the process ended.
        let undone = vec![held[0].clone(), unlocked];
        account().given(undone).when(lock(None, "rmk_1")).then_expect_events(vec![]);
    }

    #[test]
    fn a_lock_ends_by_itself_and_with_the_account() {
        let lock = Lock { until: Some(noon(5)) };
        assert_eq!((lock.holds(noon(4)), lock.holds(noon(5))), (true, false));
        assert!(Lock { until: None }.holds(noon(1_000_000)));
        let mut account = Account::default();
        evolve(&mut account, &AccountEvent::AccountLocked { until: None, remark: "rmk_1".into() });
        assert_eq!(account.lock(), Some(Lock { until: None }));
        evolve(&mut account, &AccountEvent::AccountDeleted);
        assert_eq!(account.lock(), None);
    }

    #[test]
    fn rights_that_staff_gives_are_told_with_the_reason_and_once() {
        let give = |role, remark: &str| AccountCommand::GiveRole { role, remark: remark.into() };
        let given = |role, remark: &str| AccountEvent::RoleChanged { role, remark: Some(remark.into()) };
        let first = given(Role::Support, "rmk_1");
        account()
            .given_no_previous_events()
            .when(give(Role::Support, "rmk_1"))
            .then_expect_events(vec![first.clone()]);
        let taken = vec![first, given(Role::Member, "rmk_2")];
        account().given(taken).when(give(Role::Support, "rmk_1")).then_expect_events(vec![]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut account = Account::default();
        for number in 0..3 * REMEMBERED {
            let session = SessionId::from(format!("ses_{number}"));
            evolve(
                &mut account,
                &AccountEvent::SessionRevoked { session: session.clone(), why: RevokedBecause::Revoked },
            );
            evolve(&mut account, &AccountEvent::StaffRead { session, what: String::new(), at: noon(0) });
        }
        assert_eq!((account.ended.len(), account.reads.len()), (REMEMBERED, REMEMBERED));
    }
}
