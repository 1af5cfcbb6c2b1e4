//! `token create`, `list` and `revoke`.

use std::process::ExitCode;
use std::sync::Arc;

use accounts::Accounts;
use api::auth::Scope;
use serde_json::json;
use storage::Access;

use super::{Failure, open, operator, print, print_json};
use crate::app::App;
use crate::config::{Settings, made_up_keys};
use crate::mail::Post;

async fn opened(settings: &Settings, access: Access) -> Result<(App, Accounts), Failure> {
    let mut app = open(settings, access).await?;
    let accounts = app.open_accounts(made_up_keys()?, "", Arc::new(Post::none()));
    Ok((app, accounts))
}

/// `token create`
pub(crate) async fn create(
    settings: &Settings,
    name: &str,
    scopes: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    let scopes: Vec<String> = scopes.split('+').map(str::to_owned).collect();
    if let Some(unknown) = scopes.iter().find(|scope| Scope::parse(scope).is_none()) {
        let known = Scope::ALL.map(Scope::as_str).join(", ");
        return Err(Failure::Usage(format!("--scope: {unknown:?} is none of {known}; join several by +")));
    }
    let (app, accounts) = opened(settings, Access::Write).await?;
    let made = accounts.create_service_token(name, &scopes, operator()).await?;
    let made = made.map_err(|error| Failure::Usage(error.to_string()))?;
    app.shutdown().await;
    if json {
        return print_json(&json!({
            "object": "service_token", "id": made.record.id, "name": name, "scopes": scopes, "token": made.token,
        }));
    }
    print(format_args!("{}  {name}  {}", made.record.id, scopes.join("+")))?;
    print(format_args!("The token, shown this one time:\n{}", made.token))?;
    Ok(ExitCode::SUCCESS)
}

/// `token list`
pub(crate) async fn list(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let (app, accounts) = opened(settings, Access::WriteOrRead).await?;
    for token in accounts.service_tokens().await? {
        let (id, name, scopes) = (&token.id, &token.name, token.scopes.join("+"));
        if json {
            print(json!({ "object": "service_token", "id": id, "name": name, "scopes": token.scopes,
                "created_at": token.created_at, "created_by": token.created_by, "revoked_at": token.revoked_at }))?;
        } else {
            let state = token
                .revoked_at
                .map_or_else(|| "in use".to_owned(), |at| format!("revoked {}", at.format("%Y-%m-%d")));
            print(format_args!("{id}  {name}  {scopes}  {state}"))?;
        }
    }
    app.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// `token revoke`
pub(crate) async fn revoke(settings: &Settings, token: &str, json: bool) -> Result<ExitCode, Failure> {
    let (app, accounts) = opened(settings, Access::Write).await?;
    let tokens = accounts.service_tokens().await?;
    let live = tokens.iter().filter(|known| known.revoked_at.is_none());
    let found: Vec<_> = live.filter(|known| known.id == token || known.name == token).collect();
    let id = match found.as_slice() {
        [one] => one.id.clone(),
        [] => return Err(Failure::Usage(format!("no token in use has the id or the name {token:?}"))),
        several => {
            let ids: Vec<_> = several.iter().map(|known| known.id.as_str()).collect();
            let what =
                format!("several tokens have the name {token:?}; name one by its id: {}", ids.join(", "));
            return Err(Failure::Usage(what));
        }
    };
    accounts.revoke_service_token(&id).await?;
    app.shutdown().await;
    if json {
        return print_json(&json!({ "object": "service_token", "id": id, "revoked": true }));
    }
    print(format_args!("{id} is revoked; running services know within seconds"))?;
    Ok(ExitCode::SUCCESS)
}
