//! How something is asked of the billing provider for a member: written down first, done once, and its answer written down
//! too, whether she waits for it or not.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use domain::billing::{Billing, BillingError};
use domain::ids::{MemberId, SubscriptionId};
use domain::member::{Answer, MemberCommand, MemberEvent, Request, Wish};
use domain::metadata::Context;
use domain::ports::Position;
use fail::fail_point;
use projections::dossier::Dossier;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Instrument;

use super::refusal::Refusal;
use crate::error::{ApiError, not_done};
use crate::idempotency;
use crate::shell::Asked;
use crate::state::{ApiState, LearnerParts};
use crate::viewer::Viewer;

/// How long a member waits for the provider: less than a request may take at all.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long an answer waits for the index to know what it tells of.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// A member who asks for something, and the key that makes the provider do it once.
#[derive(Clone)]
pub struct Asking {
    pub(super) state: ApiState,
    pub(super) viewer: Viewer,
    pub(super) key: String,
    request_id: String,
    /// As long as this is there, the process waits with its end.
    _under_way: watch::Receiver<()>,
}

impl FromRequestParts<ApiState> for Asking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let viewer: Viewer = parts.extensions.get().cloned().ok_or(ApiError::NotSignedIn)?;
        let Ok(asked) = Asked::from_request_parts(parts, state).await;
        let request_id = asked.request_id().to_owned();
        let member = &viewer.member;
        // A key comes from outside and could be anybody's, and one of hers may stand at several routes. Where none is given,
        // one is made up: request ids come from outside too, and the provider would do a second request with the same not at all.
        let key = match idempotency::key(&parts.headers)? {
            Some(given) => {
                let whose =
                    idempotency::hash([parts.method.as_str(), parts.uri.path(), &given].map(str::as_bytes));
                format!("{member}-idem_{}", hex::encode(&whose[..16]))
            }
            None => format!("{member}-own_{}", hex::encode((state.random)())),
        };
        let under_way = state.learner.under_way.subscribe();
        Ok(Self { state: state.clone(), viewer, key, request_id, _under_way: under_way })
    }
}

/// What attempts before this one have brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing that is known.
    Open,
    /// What was asked for is so, but its answer was lost.
    Done,
    /// The provider's answer, which is on record.
    Confirmed,
}

impl Before {
    /// Of an attempt that was or was not confirmed, now that what it asked for is so or is not.
    pub(super) fn of(is_confirmed: bool, is_so: bool) -> Self {
        match (is_confirmed, is_so) {
            (true, _) => Self::Confirmed,
            (false, true) => Self::Done,
            (false, false) => Self::Open,
        }
    }
}

impl Asking {
    pub(super) fn member(&self) -> &MemberId {
        &self.viewer.member
    }

    pub(super) fn learner(&self) -> &LearnerParts {
        &self.state.learner
    }

    pub(super) fn billing(&self) -> Result<&dyn Billing, ApiError> {
        self.learner().billing.as_deref().ok_or(ApiError::BillingNotConfigured)
    }

    pub(super) fn context(&self, key: &str) -> Context {
        let now = self.state.now();
        let context = Context::asked_by(self.viewer.actor(), &self.request_id, now);
        Context { correlation_id: key.to_owned(), ..context }
    }

    pub(super) async fn dossier(&self) -> Result<Dossier, ApiError> {
        Ok(self.state.history()?.dossier(self.member()).await?)
    }

    pub(super) async fn tell(&self, key: &str, command: MemberCommand) -> Result<Vec<MemberEvent>, ApiError> {
        self.tell_in(self.context(key), command).await
    }

    async fn tell_in(&self, context: Context, command: MemberCommand) -> Result<Vec<MemberEvent>, ApiError> {
        let done = self.state.members.execute(self.member().as_str(), command, context).await;
        let done = done.map_err(|error| not_done(error, |refused| Refusal::from(refused).into()))?;
        Ok(done.events)
    }

    /// What she asked for under this key at an attempt before this one.
    pub(super) async fn before(&self) -> Result<Option<Request>, ApiError> {
        let member = self.dossier().await?.member;
        // Whoever asked for these may have been ended before the provider answered. Where one is still at it, its answer counts.
        for lost in member.unanswered(&self.key) {
            tracing::warn!(request = lost.key, "nobody saw what became of a request");
            let command = MemberCommand::RecordAnswer { key: lost.key.clone(), answer: Answer::Unanswered };
            self.tell(&lost.key, command).await?;
        }
        Ok(member.request(&self.key).cloned())
    }

    /// Has something done that she wants, unless an attempt before this one did it, and has the log know what came of it.
    pub(super) async fn carry_out(
        &self,
        subscription: &SubscriptionId,
        wish: Wish,
        before: Before,
        work: impl Future<Output = Result<(), BillingError>>,
    ) -> Result<(), ApiError> {
        let done = match before {
            Before::Confirmed => return Ok(()),
            Before::Done => Ok(()),
            Before::Open => {
                self.learner().purchases.wish_begun(self.member(), &self.key).await?;
                self.ask(wish).await?;
                fail_point!("asking::asked");
                let done = work.await;
                fail_point!("asking::answered");
                done
            }
        };
        let told = self.answered(&self.key, done, |()| Answer::Confirmed).await;
        let is_known =
            matches!(told, Ok(()) | Err(ApiError::BillingRefused { .. } | ApiError::BillingNotConfigured));
        if is_known && let Err(error) = self.learner().purchases.wish_ended(&self.key).await {
            tracing::warn!(%error, "a wish whose end is known is looked at once more");
        }
        told?;
        self.look(subscription).await
    }

    /// Writes down what she wants; whether that is new.
    pub(super) async fn ask(&self, wish: Wish) -> Result<bool, ApiError> {
        let command = MemberCommand::Ask { key: self.key.clone(), wish };
        let context = self.context(&self.key).for_member(self.member());
        Ok(!self.tell_in(context, command).await?.is_empty())
    }

    /// Writes down what the provider answered, and hands it on.
    pub(super) async fn answered<T>(
        &self,
        key: &str,
        answer: Result<T, BillingError>,
        told: impl FnOnce(&T) -> Answer,
    ) -> Result<T, ApiError> {
        let record = match &answer {
            Ok(done) => told(done),
            Err(BillingError::Refused { code, .. }) => Answer::Refused { code: code.clone() },
            Err(BillingError::NotConfigured) => Answer::Refused { code: "not_configured".to_owned() },
            Err(BillingError::Unavailable(_) | BillingError::RateLimited { .. }) => Answer::Unanswered,
        };
        self.tell(key, MemberCommand::RecordAnswer { key: key.to_owned(), answer: record }).await?;
        Ok(answer?)
    }

    /// Has the log know what a subscription is now: it may be behind, as webhooks come late or never.
    pub(super) async fn look(&self, subscription: &SubscriptionId) -> Result<(), ApiError> {
        Ok(self.learner().purchases.subscription(subscription, &self.key).await?)
    }

    /// Waits a little until answers know of this position, so that what she looks at next agrees.
    pub(super) async fn known(&self, position: Position) {
        self.state.index_progress.wait_for(position, CATCHING_UP).await;
    }

    /// Carries something out to its end, also when nobody waits for it any more.
    pub(super) async fn to_its_end<T: Send + 'static>(
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let task = tokio::spawn(work.in_current_span());
        match timeout(PATIENCE, task).await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => Err(ApiError::Panicked(panic.to_string())),
            Err(_) => {
                let what = "it has not answered yet; what was asked for may still be done";
                Err(ApiError::BillingUnavailable(what.to_owned()))
            }
        }
    }
}
