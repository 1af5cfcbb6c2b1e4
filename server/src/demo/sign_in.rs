//! Accounts for the demo's cast, each of which a click signs in.

use accounts::{Accounts, NewAccount};
use domain::account::Role;
use domain::ids::MemberId;
use domain::metadata::Actor;

use crate::app::App;
use crate::commands::{Failure, command_id};
use crate::config::SignIn;

/// Who looks after everybody, and where each begins.
pub(super) const STAFF: [(&str, Role, &str); 2] = [
    ("support@example.com", Role::Support, "/console"),
    ("owner@example.com", Role::Owner, "/console/accounts"),
];

/// Somebody, and the address that signs her in.
pub(super) struct Click {
    pub(super) member: String,
    pub(super) url: String,
}

/// Opens support's account, so that it is known who of the staff acts.
pub(super) async fn begin_support(accounts: &Accounts) -> Result<MemberId, Failure> {
    let (email, role, _) = STAFF[0];
    let new = NewAccount { email, password: None, role };
    Ok(accounts.create(new, Actor::system(), &command_id()).await?.member)
}

/// Lets people in as `door` says, with an account for everybody in the cast, whose addresses are `emails`, and for the staff, who
/// come last. Asked again it changes nothing.
pub(super) async fn let_in(app: &mut App, door: &SignIn, emails: &[&str]) -> Result<Vec<Click>, Failure> {
    let accounts = app.let_people_in(Some(door), true)?;
    let mut clicks = Vec::new();
    let cast = emails.iter().map(|email| (*email, Role::Member, "/docs"));
    for (email, role, to) in cast.chain(STAFF) {
        let new = NewAccount { email, password: None, role };
        let member = accounts.create(new, Actor::system(), &command_id()).await?.member.to_string();
        let url = api::demo::link(&door.public_url, &member, to);
        clicks.push(Click { member, url });
    }
    Ok(clicks)
}
