//! Who of the staff may do what, and to whom: every rule of it is in [`may`], which routes, pages and acts ask.

use domain::account::Role;
use thiserror::Error;

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doer {
    /// Somebody of the staff who is signed in, with her rights as they are now.
    Staff(Role),
    /// A back end with a token for what support does. It may do what support may.
    Service,
}

/// What is done, as far as the rules tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Give, or lengthen, access to videos, or say that a payer is hers.
    GiveAccess,
    /// Anything else that is about her membership and notes.
    Help,
    /// What her account depends on: a letter with a link, the end of her sessions, a lock, the end of a lock.
    HandleAccount,
    /// Forget her.
    Erase,
    /// Give her other rights.
    ChangeRole,
    /// List accounts, or invite somebody.
    KeepAccounts,
}

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Her rights.
    pub role: Role,
    /// Whether it is whoever does it.
    pub is_herself: bool,
}

impl Target {
    /// Nobody in particular.
    pub const NOBODY: Self = Self { role: Role::Member, is_herself: false };
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum NotAllowed {
    /// It takes an owner.
    #[error("only an owner may do that; ask one")]
    OwnersOnly,
    /// She is of the staff, and whoever does it is no owner.
    #[error("the account is of somebody of the staff, and only an owner may do that; ask one")]
    OfTheStaff,
    /// It would be to her own advantage.
    #[error("nobody of the support gives access to herself; ask a colleague")]
    ToHerself,
    /// It is what every account has ways of its own for.
    #[error("this is your own account; change it in its own settings, where you show who you are")]
    OwnAccount,
}

/// Whether `doer` may do `deed` to `target`.
pub fn may(doer: Doer, deed: Deed, target: Target) -> Result<(), NotAllowed> {
    let is_owner = doer == Doer::Staff(Role::Owner);
    let is_staff = target.role >= Role::Support;
    match deed {
        Deed::KeepAccounts | Deed::ChangeRole if !is_owner => Err(NotAllowed::OwnersOnly),
        Deed::GiveAccess if target.is_herself && !is_owner => Err(NotAllowed::ToHerself),
        Deed::HandleAccount | Deed::Erase if target.is_herself => Err(NotAllowed::OwnAccount),
        Deed::HandleAccount | Deed::Erase if is_staff && !is_owner => Err(NotAllowed::OfTheStaff),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEEDS: [Deed; 6] = [
        Deed::GiveAccess,
        Deed::Help,
        Deed::HandleAccount,
        Deed::Erase,
        Deed::ChangeRole,
        Deed::KeepAccounts,
    ];
    const TO_A_MEMBER: Target = Target::NOBODY;
    const TO_SUPPORT: Target = Target { role: Role::Support, is_herself: false };
    const TO_AN_OWNER: Target = Target { role: Role::Owner, is_herself: false };
    const HERSELF: fn(Role) -> Target = |role| Target { role, is_herself: true };

    /// Who does it to whom, and what comes of each deed, in the order of [`DEEDS`].
    type Row = (Doer, Target, [Result<(), NotAllowed>; 6]);

    /// The whole table, written by hand.
    fn table() -> Vec<Row> {
        use NotAllowed::{OfTheStaff, OwnAccount, OwnersOnly, ToHerself};
        const YES: Result<(), NotAllowed> = Ok(());
        const OWNERS: Result<(), NotAllowed> = Err(OwnersOnly);
        const STAFF: Result<(), NotAllowed> = Err(OfTheStaff);
        const SELF: Result<(), NotAllowed> = Err(ToHerself);
        const OWN: Result<(), NotAllowed> = Err(OwnAccount);
        let (owner, support) = (Doer::Staff(Role::Owner), Doer::Staff(Role::Support));
        vec![
            //                                       access help handle erase role   keep
            (owner, TO_A_MEMBER, [YES, YES, YES, YES, YES, YES]),
            (owner, TO_SUPPORT, [YES, YES, YES, YES, YES, YES]),
            (owner, TO_AN_OWNER, [YES, YES, YES, YES, YES, YES]),
            (owner, HERSELF(Role::Owner), [YES, YES, OWN, OWN, YES, YES]),
            (support, TO_A_MEMBER, [YES, YES, YES, YES, OWNERS, OWNERS]),
            (support, TO_SUPPORT, [YES, YES, STAFF, STAFF, OWNERS, OWNERS]),
            (support, TO_AN_OWNER, [YES, YES, STAFF, STAFF, OWNERS, OWNERS]),
            (support, HERSELF(Role::Support), [SELF, YES, OWN, OWN, OWNERS, OWNERS]),
            (Doer::Service, TO_A_MEMBER, [YES, YES, YES, YES, OWNERS, OWNERS]),
            (Doer::Service, TO_SUPPORT, [YES, YES, STAFF, STAFF, OWNERS, OWNERS]),
            (Doer::Service, TO_AN_OWNER, [YES, YES, STAFF, STAFF, OWNERS, OWNERS]),
        ]
    }

    type Rules = fn(Doer, Deed, Target) -> Result<(), NotAllowed>;

    /// How many entries of the table these rules break.
    fn broken(rules: Rules) -> usize {
        let broken = |(doer, target, expected): &Row| {
            let pairs = DEEDS.iter().zip(expected);
            pairs.filter(|(deed, expected)| rules(*doer, **deed, *target) != **expected).count()
        };
        table().iter().map(broken).sum()
    }

    #[test]
    fn who_may_do_what_to_whom_is_as_the_table_says() {
        for (doer, target, expected) in table() {
            for (deed, expected) in DEEDS.into_iter().zip(expected) {
                assert_eq!(may(doer, deed, target), expected, "{doer:?} {deed:?} {target:?}");
            }
        }
    }

    #[test]
    fn rules_with_any_one_taken_away_break_the_table() {
        let without: [Rules; 4] = [
            |doer, deed, target| may(doer, deed, target).or_else(but(NotAllowed::OwnersOnly)),
            |doer, deed, target| may(doer, deed, target).or_else(but(NotAllowed::OfTheStaff)),
            |doer, deed, target| may(doer, deed, target).or_else(but(NotAllowed::ToHerself)),
            |doer, deed, target| may(doer, deed, target).or_else(but(NotAllowed::OwnAccount)),
        ];
        assert_eq!(broken(may), 0);
        for rules in without {
            assert!(broken(rules) > 0);
        }
    }

    fn but(off: NotAllowed) -> impl Fn(NotAllowed) -> Result<(), NotAllowed> {
        move |why| if why == off { Ok(()) } else { Err(why) }
    }

    #[test]
    fn somebody_without_rights_at_all_may_do_nothing_that_takes_an_owner() {
        for deed in [Deed::ChangeRole, Deed::KeepAccounts] {
            assert_eq!(may(Doer::Staff(Role::Member), deed, TO_A_MEMBER), Err(NotAllowed::OwnersOnly));
        }
    }
}
