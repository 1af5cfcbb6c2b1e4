//! Who did something, as pages name her: somebody of the staff by her address, with the id of the log beside it.

use std::collections::BTreeMap;

use api::ApiState;
use api::error::ApiError;
use askama::Template;
use askama::filters::HtmlSafe;
use domain::ids::MemberId;

/// Who did something.
#[derive(Template)]
#[template(
    source = "{% if let Some(email) = email %}<span class=\"who\" title=\"{{ actor }}\">staff {{ email }}</span>{% else %}{{ actor }}{% endif %}",
    ext = "html"
)]
pub(crate) struct Who {
    actor: String,
    email: Option<String>,
}

// Its template escapes what it is made of.
impl HtmlSafe for Who {}

/// The addresses of those of the staff whom a page names.
pub(crate) struct Staff(BTreeMap<String, String>);

impl Staff {
    /// Looks each of them up once, however often she is among the actors.
    pub(crate) async fn of(state: &ApiState, mut actors: Vec<String>) -> Result<Self, ApiError> {
        let mut addresses = BTreeMap::new();
        let Some(accounts) = &state.accounts else { return Ok(Self(addresses)) };
        actors.sort_unstable();
        actors.dedup();
        for actor in actors {
            let member = actor.strip_prefix("staff:").and_then(|id| MemberId::parse(id).ok());
            let Some(member) = member else { continue };
            let account = accounts.account(&member).await?;
            addresses.extend(account.and_then(|account| account.email).map(|email| (actor, email)));
        }
        Ok(Self(addresses))
    }

    /// How a page names her; back ends, this service and whoever has no address any more as the log does.
    pub(crate) fn name(&self, actor: &impl ToString) -> Who {
        let actor = actor.to_string();
        Who { email: self.0.get(&actor).cloned(), actor }
    }
}
