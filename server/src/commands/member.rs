//! `member create`, `link` and `list`.

use std::process::ExitCode;

use domain::clock::{Clock, SystemClock};
use domain::customer::{CustomerCommand, LinkedThrough};
use domain::ids::{CustomerId, MemberId};
use domain::member::MemberCommand;
use domain::metadata::Context;
use domain::ports::{PersonRecord, PersonStored};
use projections::directory;
use serde_json::json;
use storage::Access;

use super::{Failure, answers, command_id, open, operator, print, print_json};
use crate::app::random;
use crate::config::Settings;

const PAGE: usize = 500;

/// `member create`
pub(crate) async fn create(
    settings: &Settings,
    email: Option<String>,
    id: Option<MemberId>,
    json: bool,
) -> Result<ExitCode, Failure> {
    if email.as_ref().is_some_and(|email| !api::members::is_email(email)) {
        return Err(Failure::Usage("--email: write it like ada@example.com".to_owned()));
    }
    let now = SystemClock.now();
    let member = id.unwrap_or_else(|| MemberId::generate(now, random()));
    let app = open(settings, Access::Write).await?;
    let record =
        PersonRecord { member: member.clone(), email: email.clone(), external_id: None, created_at: now };
    match app.storage.people.create(record).await? {
        PersonStored::Erased => {
            return Err(Failure::Usage(format!("{member} was erased, which is for good; leave --id out")));
        }
        PersonStored::EmailTaken(other) => {
            return Err(Failure::Usage(format!("--email: {other} has this address already")));
        }
        PersonStored::Existing(held)
            if !api::members::same_email(held.email.as_deref(), email.as_deref()) =>
        {
            let what = format!("--id: {member} is there already, with another e-mail address");
            return Err(Failure::Usage(what));
        }
        PersonStored::Created | PersonStored::Existing(_) => {}
    }
    let context = Context::asked_by(operator(), &command_id(), now);
    app.storage.members.execute(member.as_str(), MemberCommand::Register, context).await?;
    app.worker.redrive_set_aside(&["unknown_member"]).await?;
    app.worker.drain().await?;
    app.caught_up().await?;
    app.shutdown().await;
    if json {
        return print_json(&json!({ "object": "member", "id": member }));
    }
    print(member)?;
    Ok(ExitCode::SUCCESS)
}

/// `member link`
pub(crate) async fn link(
    settings: &Settings,
    member: &str,
    customer: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    let member = answers::parse(member)?;
    if !customer.starts_with("cus_") {
        return Err(Failure::Usage(format!("--customer: {customer:?} is not a Stripe customer id (cus_…)")));
    }
    let customer = CustomerId::from(customer);
    let app = open(settings, Access::Write).await?;
    app.caught_up().await?;
    if app.storage.views.registered_at(directory::NAME, &member).await?.is_none() {
        return Err(Failure::Usage(format!("no member has the id {member}; create it first")));
    }
    let context = Context::asked_by(operator(), &command_id(), SystemClock.now()).for_member(&member);
    let command = CustomerCommand::Link { member: member.clone(), through: LinkedThrough::Request };
    let done = app.storage.customers.execute(customer.as_str(), command, context).await?;
    let redriven = app.worker.linked(&customer).await?;
    app.worker.drain().await?;
    app.caught_up().await?;
    app.shutdown().await;
    if json {
        return print_json(&json!({
            "object": "customer_link", "member": member, "customer": customer,
            "new": !done.events.is_empty(), "deliveries_redriven": redriven,
        }));
    }
    let how = if done.events.is_empty() { "was linked already" } else { "is linked" };
    print(format_args!("{customer} {how} to {member}; {redriven} parked deliveries looked at again"))?;
    Ok(ExitCode::SUCCESS)
}

/// `member list`
pub(crate) async fn list(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let app = open(settings, Access::WriteOrRead).await?;
    let mut after: Option<MemberId> = None;
    loop {
        let page = app.storage.people.list(after.as_ref(), PAGE).await?;
        for person in &page {
            let PersonRecord { member, email, external_id, created_at } = person;
            let email = email.as_deref().unwrap_or("-");
            if json {
                print(json!({ "object": "member", "id": member, "email": person.email,
                    "external_id": external_id, "created_at": created_at }))?;
            } else {
                print(format_args!("{member}  {email}  {}", external_id.as_deref().unwrap_or("-")))?;
            }
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.member.clone()),
            _ => break,
        }
    }
    app.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
