//! What staff gives without a payment while a year is lived, beside what is bought.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::grant::GrantCommand;
use domain::ids::{GrantId, RemarkId};
use stripe_simulator::Seconds;
use tests::stripe::Dice;

use super::living::Year;
use super::service::moment;
use super::{DAY, Plan};

/// Of so many steps of a year, one has somebody of the staff give or take something.
const SELDOM: usize = 40;

/// Something that was given.
#[derive(Debug, Clone)]
pub(super) struct Gift {
    id: GrantId,
    pub(super) plan: &'static str,
    pub(super) from: Seconds,
    /// Until when; for good when there is none.
    pub(super) until: Option<Seconds>,
    pub(super) revoked_at: Option<Seconds>,
}

impl Gift {
    /// Whether it was good then; nothing where it had not been given yet.
    pub(super) fn is_good(&self, at: Seconds) -> Option<bool> {
        let goes_on = |end: Option<Seconds>| end.is_none_or(|end| at < end);
        (self.from <= at).then(|| goes_on(self.until) && goes_on(self.revoked_at))
    }

    /// The moments at which it changes an answer.
    pub(super) fn edges(&self) -> impl Iterator<Item = Seconds> {
        [Some(self.from), self.until, self.revoked_at].into_iter().flatten()
    }
}

/// All that was given, by the member's place.
pub(super) struct Gifts {
    dice: Dice,
    all: BTreeMap<usize, Vec<Gift>>,
}

impl Gifts {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { dice: Dice::new(plan.seed ^ 0x91f7), all: BTreeMap::new() }
    }

    /// What one member was given.
    pub(super) fn of(&self, place: usize) -> &[Gift] {
        self.all.get(&place).map_or(&[], Vec::as_slice)
    }

    fn id<T>(&mut self, make: impl FnOnce(DateTime<Utc>, [u8; 10]) -> T, now: Seconds) -> T {
        make(moment(now), std::array::from_fn(|_| u8::try_from(self.dice.below(256)).unwrap()))
    }
}

impl Year {
    /// Now and then somebody is given something, or has it taken away.
    pub(super) async fn give_or_take(&mut self) {
        let now = self.now;
        if self.gifts.dice.below(SELDOM) > 0 || self.is_silent() {
            return;
        }
        let place = self.gifts.dice.below(self.lives.members.len());
        let member = self.lives.members[place].id.clone();
        if !self.service.knows(&member) {
            return;
        }
        let remark = self.gifts.id(RemarkId::generate, now);
        let good = |gift: &Gift| gift.is_good(now) == Some(true);
        if let Some(held) = self.gifts.of(place).iter().position(good) {
            let gift = &mut self.gifts.all.get_mut(&place).unwrap()[held];
            gift.revoked_at = Some(now);
            self.service.grant(&gift.id, GrantCommand::Revoke { remark }).await;
            self.lives.count("has something taken back that was given");
            return;
        }
        let id = self.gifts.id(GrantId::generate, now);
        let plan = ["basic", "pro"][self.gifts.dice.below(2)];
        let days = [Some(7), Some(30), Some(90), None][self.gifts.dice.below(4)];
        let until = days.map(|days: Seconds| now + days * DAY);
        let command = GrantCommand::Give {
            member: member.as_str().into(),
            plan: plan.into(),
            from: moment(now),
            until: until.map(moment),
            remark,
        };
        self.service.grant(&id, command).await;
        self.lives.count("is given something");
        self.gifts.all.entry(place).or_default().push(Gift { id, plan, from: now, until, revoked_at: None });
    }
}
