//! `account create`, `role`, `list`, `show`, `lock`, `unlock` and `second-factor-off`.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accounts::{AccountError, AccountView, Letter, MailError, Mailer, NewAccount, Origin};
use async_trait::async_trait;
use domain::account::{Lock, Role};
use domain::clock::{Clock, SystemClock};
use domain::ids::RemarkId;
use domain::ports::Remark;
use serde_json::json;
use storage::Access;

use super::{Failure, answers, command_id, open, operator, print, print_json};
use crate::app::random;
use crate::config::{Settings, made_up_keys};

/// So many accounts are read at once.
const PAGE: usize = 500;
/// Longer than it takes to hand a letter over that goes nowhere.
const PATIENCE: Duration = Duration::from_secs(10);

/// `account create`
pub(crate) async fn create(
    settings: &Settings,
    email: &str,
    role: Role,
    password_stdin: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let password = password_stdin.then(read_password).transpose()?;
    let public_url = settings.reached_at()?;
    let mut app = open(settings, Access::Write).await?;
    let hand = Arc::new(Hand::default());
    let accounts = app.open_accounts(made_up_keys()?, &public_url, hand.clone());
    let new = NewAccount { email, password: password.as_deref(), role };
    let made = accounts.create(new, operator(), &command_id()).await?;
    let mut link = None;
    if password.is_none() {
        let origin = Origin { request_id: command_id(), ..Origin::default() };
        accounts.forgot_password(email, &origin).await?;
        if !accounts.letters_sent(PATIENCE).await {
            return Err(Failure::Unavailable("the link was not made in time; try again".to_owned()));
        }
        let token = hand.token().ok_or_else(|| {
            Failure::Failed(
                "no link was made, perhaps since several were made just now; try again in an hour".to_owned(),
            )
        })?;
        link = Some(format!("{public_url}/learn/reset-password#token={token}"));
    }
    if made.new_member {
        app.worker.redrive_set_aside(&["unknown_member"]).await?;
        app.worker.drain().await?;
    }
    app.caught_up().await?;
    app.shutdown().await;
    if json {
        return print_json(
            &json!({ "object": "account", "member": made.member, "role": role, "link": link }),
        );
    }
    print(format_args!("{}  {role}", made.member))?;
    if let Some(link) = link {
        print(format_args!("Choose the password here; the link works once, and not for long:\n{link}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `account role`
pub(crate) async fn role(
    settings: &Settings,
    member: &str,
    role: Role,
    json: bool,
) -> Result<ExitCode, Failure> {
    let member = answers::parse(member)?;
    let mut app = open(settings, Access::Write).await?;
    let accounts = app.open_accounts(made_up_keys()?, "", Arc::new(Hand::default()));
    accounts.set_role(&member, role, operator(), &command_id()).await?;
    app.shutdown().await;
    if json {
        return print_json(&json!({ "object": "account", "member": member, "role": role }));
    }
    print(format_args!("{member}  {role}"))?;
    Ok(ExitCode::SUCCESS)
}

/// `account list`
pub(crate) async fn list(settings: &Settings, role: Option<Role>, json: bool) -> Result<ExitCode, Failure> {
    let mut app = open(settings, Access::Read).await?;
    let accounts = app.open_accounts(made_up_keys()?, "", Arc::new(Hand::default()));
    let mut after = None;
    loop {
        let page = accounts.list(role, after.as_ref(), PAGE).await?;
        for account in &page {
            print_one(account, json)?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.member.clone()),
            _ => break,
        }
    }
    app.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// `account show`
pub(crate) async fn show(settings: &Settings, member: &str, json: bool) -> Result<ExitCode, Failure> {
    let member = answers::parse(member)?;
    let mut app = open(settings, Access::Read).await?;
    let accounts = app.open_accounts(made_up_keys()?, "", Arc::new(Hand::default()));
    let account = accounts.account(&member).await?.ok_or(AccountError::NoAccount)?;
    app.shutdown().await;
    print_one(&account, json)
}

/// `account lock`, and `unlock` where there is no lock.
pub(crate) async fn lock(
    settings: &Settings,
    member: &str,
    lock: Option<Lock>,
    reason: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    let (member, now) = (answers::parse(member)?, SystemClock.now());
    let text = api::deliveries::sentence(reason)
        .ok_or_else(|| Failure::Usage(format!("--reason: {}", api::deliveries::A_LINE)))?;
    if lock.is_some_and(|lock| !lock.holds(now)) {
        return Err(Failure::Usage("--until: that moment has passed; choose a later one".to_owned()));
    }
    let mut app = open(settings, Access::Write).await?;
    let accounts = app.open_accounts(made_up_keys()?, "", Arc::new(Hand::default()));
    accounts.account(&member).await?.ok_or(AccountError::NoAccount)?;
    let id = RemarkId::generate(now, random());
    app.storage.remarks.put(Remark { id: id.clone(), member: member.clone(), text, at: now }).await?;
    match lock {
        Some(lock) => accounts.lock(&member, lock, id, operator(), &command_id()).await?,
        None => accounts.unlock(&member, id, operator(), &command_id()).await?,
    };
    let account = accounts.account(&member).await?.ok_or(AccountError::NoAccount)?;
    app.shutdown().await;
    print_one(&account, json)
}

fn print_one(account: &AccountView, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print(json!(api::support::accounts::OverviewBody::from(account.clone())))?;
        return Ok(ExitCode::SUCCESS);
    }
    let facts = [
        account.lock.map(|lock| format!("locked {}", lock.words())),
        (!account.verified).then(|| "invited".to_owned()),
        account.second_factor.enabled.then(|| "second factor".to_owned()),
        account.signed_in_at.map(|at| format!("last sign-in {}", at.format("%Y-%m-%d"))),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    let email = account.email.as_deref().unwrap_or("-");
    print(format_args!("{}  {}  {email}  {}", account.member, account.role, facts.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

/// `account second-factor-off`
pub(crate) async fn second_factor_off(
    settings: &Settings,
    member: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    let member = answers::parse(member)?;
    let mut app = open(settings, Access::Write).await?;
    let accounts = app.open_accounts(made_up_keys()?, "", Arc::new(Hand::default()));
    accounts.remove_second_factor(&member, operator(), &command_id()).await?;
    app.shutdown().await;
    if json {
        return print_json(&json!({ "object": "account", "member": member, "second_factor": false }));
    }
    print(format_args!("{member}  signs in with her password alone"))?;
    Ok(ExitCode::SUCCESS)
}

fn read_password() -> Result<String, Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::Usage("--password-stdin: there is no line on stdin".to_owned()));
    }
    Ok(password.to_owned())
}

/// Keeps what a letter would have held, to be printed.
#[derive(Default)]
struct Hand(Mutex<Option<String>>);

impl Hand {
    fn token(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Mailer for Hand {
    async fn send(&self, _to: &str, letter: &Letter) -> Result<(), MailError> {
        if let Letter::ResetPassword { token, .. } = letter {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        }
        Ok(())
    }
}
