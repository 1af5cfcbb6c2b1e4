//! What the log is to be told of a change, as it waits beside the change. Read again only where telling it was interrupted.

use chrono::{DateTime, Utc};
use domain::account::AccountCommand;
use domain::metadata::{Actor, Context};
use domain::ports::StoreError;
use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::secrets::bytes;
use crate::store::News;

#[derive(Serialize, Deserialize)]
struct Kept {
    command: AccountCommand,
    actor: Actor,
    request_id: String,
    at: DateTime<Utc>,
}

/// The news that `command` is, given in this context.
pub(crate) fn of(
    command: &AccountCommand,
    context: &Context,
    random: &dyn Random,
) -> Result<News, StoreError> {
    let (actor, at) = (context.actor.clone(), context.occurred_at);
    let kept = Kept { command: command.clone(), actor, request_id: context.correlation_id.clone(), at };
    let text = serde_json::to_string(&kept).map_err(|why| StoreError::Corrupt(why.to_string()))?;
    let id = uuid::Builder::from_random_bytes(bytes(random)?).into_uuid();
    Ok(News { id: id.simple().to_string(), text, at })
}

/// What news tell.
pub(crate) fn read(news: &News) -> Result<(AccountCommand, Context), StoreError> {
    let Kept { command, actor, request_id, at } =
        serde_json::from_str(&news.text).map_err(|why| StoreError::Corrupt(why.to_string()))?;
    Ok((command, Context::asked_by(actor, &request_id, at)))
}

#[cfg(test)]
mod tests {
    use domain::account::{PasswordChange, Role};

    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn news_read_back_as_they_were_kept() {
        let context = Context::asked_by(Actor::operator(), "req_1", DateTime::UNIX_EPOCH);
        for command in [
            AccountCommand::ChangePassword(PasswordChange::Reset),
            AccountCommand::ChangeRole(Role::Owner),
            AccountCommand::ChangeEmail,
            AccountCommand::EnableSecondFactor,
            AccountCommand::DisableSecondFactor,
            AccountCommand::UseBackupCode,
            AccountCommand::LinkIdentity { identity: "idn_1".into(), provider: "google".to_owned() },
            AccountCommand::UnlinkIdentity { identity: "idn_1".into(), provider: "google".to_owned() },
            AccountCommand::GiveRole { role: Role::Support, remark: "rmk_1".into() },
            AccountCommand::Lock { until: None, remark: "rmk_1".into() },
            AccountCommand::Lock { until: Some(DateTime::UNIX_EPOCH), remark: "rmk_1".into() },
            AccountCommand::Unlock { remark: "rmk_1".into() },
        ] {
            let kept = of(&command, &context, &SystemRandom).unwrap();
            assert_eq!(read(&kept).unwrap(), (command, context.clone()));
        }
    }
}
